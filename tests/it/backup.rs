//! Backup and restore, with a service that goes on meanwhile.

use std::path::Path;

use recado::commands::service::Service;
use recado::config::Config;
use recado::domain::error::Kind;
use recado::infra::store::{People as _, Store};
use recado::infra::store::backup::{Backups, SqliteBackups, restore_sqlite};
use recado::infra::store::sqlite::SqliteStore;
use serde_json::Value;

use crate::app::{Account, TestApp};
use crate::invariants::{self, Open};

/// Accepts texts until told to stop; the ids of those answered 202 so far are in `accepted`.
async fn writes(app: &TestApp, from: &Account, to: &str, accepted: &std::sync::Mutex<Vec<String>>) {
    for n in 0.. {
        let id = app.send(from, to, &format!("text {n}")).await;
        accepted.lock().unwrap().push(id);
    }
}

async fn found(base: &str, key: &str, message: &str) -> (u16, Value) {
    let asked = reqwest::Client::new().get(format!("{base}/messages/{message}")).bearer_auth(key);
    let answer = asked.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_writes_restores_everything_accepted_before_it_began() {
    let mut app = TestApp::start().await;
    app.unfinished = true;
    let (ana, ben) = (app.link("ana").await, app.link("ben").await);
    let accepted = std::sync::Mutex::new(Vec::new());
    let backups = tempfile::tempdir().unwrap();
    let drill = async {
        app.until("some accepted texts", async || (accepted.lock().unwrap().len() >= 50).then_some(())).await;
        let before = accepted.lock().unwrap().clone();
        let written = SqliteBackups::of(&app.data()).backup(backups.path()).await.unwrap();
        let during = accepted.lock().unwrap().len() - before.len();
        (before, written, during)
    };
    let (before, written, during) = tokio::select! {
        done = drill => done,
        () = writes(&app, &ana, &ben.phone, &accepted) => unreachable!("it writes for ever"),
    };
    println!(
        "{} accepted before the backup, {during} while it ran, {:?}",
        before.len(),
        written.contents.rows
    );
    assert!(written.contents.rows["session_messages"] >= before.len() as u64);

    // Another place, as after the loss of the first: only the key was kept apart.
    let elsewhere = tempfile::tempdir().unwrap();
    let config = Config::embedded(elsewhere.path()).unwrap();
    let data = elsewhere.path().join("recado.db");
    restore_sqlite(&written.file, &data, false).await.unwrap();
    std::fs::copy(app.data().with_file_name("encryption.key"), elsewhere.path().join("encryption.key"))
        .unwrap();
    // The first is gone for good: two must not speak for one account.
    app.stop().await;
    let service = Service::start(config, Vec::new()).await.unwrap();
    for id in &before {
        assert_eq!(found(service.url(), &app.key, id).await.0, 200, "{id} is not in the backup");
    }
    // And it goes on where it stood: the sessions come back linked, and what waited ends.
    let until = tokio::time::Instant::now() + crate::app::SOON;
    for id in &before {
        loop {
            let (_, message) = found(service.url(), &app.key, id).await;
            if ["sent", "delivered", "read", "failed"].contains(&message["state"].as_str().unwrap()) {
                break;
            }
            assert!(tokio::time::Instant::now() < until, "{message} does not end");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    assert!(service.stop().await);
    let store = SqliteStore::open(&data).await.unwrap();
    invariants::figures(&store, 1).await.assert(Open::Allowed);
    store.close().await;
}

/// A store with one key in it, closed.
async fn some_tables(folder: &Path) -> std::path::PathBuf {
    let service = Service::start(Config::embedded(folder).unwrap(), Vec::new()).await.unwrap();
    service.new_key().await.unwrap();
    assert!(service.stop().await);
    folder.join("recado.db")
}

async fn keys(data: &Path) -> i64 {
    let store = SqliteStore::open(data).await.unwrap();
    let keys = store.keys(recado::domain::ids::TenantId::DEFAULT).await.unwrap();
    store.close().await;
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_refuses_what_it_must_and_puts_aside_what_was_there() {
    let (folder, backups) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = some_tables(folder.path()).await;
    let written = SqliteBackups::of(&data).backup(backups.path()).await.unwrap();

    let kind = |refused: recado::domain::error::Result<_>| refused.map(|_done| ()).unwrap_err();
    let there = kind(restore_sqlite(&written.file, &data, false).await);
    assert_eq!((there.kind, there.code), (Kind::Conflict, "data_exists"));

    let service = Service::start(Config::embedded(folder.path()).unwrap(), Vec::new()).await.unwrap();
    service.new_key().await.unwrap();
    let running = kind(restore_sqlite(&written.file, &data, true).await);
    assert_eq!((running.kind, running.code), (Kind::Conflict, "data_folder_in_use"));
    assert!(service.stop().await);

    let missing = kind(restore_sqlite(&backups.path().join("none.db"), &data, true).await);
    assert_eq!(missing.kind, Kind::NotFound);

    let mut bytes = std::fs::read(&written.file).unwrap();
    let page = bytes.len() / 2 / 4096 * 4096;
    bytes[page..page + 4096].fill(0x5a);
    let damaged = backups.path().join("damaged.db");
    std::fs::write(&damaged, bytes).unwrap();
    assert_eq!(kind(restore_sqlite(&damaged, &data, true).await).kind, Kind::Conflict);
    std::fs::write(&damaged, "nothing of ours").unwrap();
    assert_eq!(kind(restore_sqlite(&damaged, &data, true).await).kind, Kind::Conflict);
    assert_eq!(keys(&data).await, 2, "nothing of that changed the tables");

    restore_sqlite(&written.file, &data, true).await.unwrap();
    assert_eq!(keys(&data).await, 1, "as they were at the backup");
    let aside = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let aside: Vec<_> = aside
        .filter(|path| path.to_str().unwrap().contains(".before-restore-"))
        .filter(|path| !path.to_str().unwrap().ends_with("-wal"))
        .collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(keys(&aside[0]).await, 2, "what was there is there still");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_of_before_the_restore_is_fenced_after_it() {
    use recado::domain::ids::{Epoch, Fence, Shard};
    use recado::domain::write::{Outcome, TakeLease, Write};

    let (folder, backups) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = some_tables(folder.path()).await;
    let written = SqliteBackups::of(&data).backup(backups.path()).await.unwrap();
    // The lost future: the shard changes hands several times after the backup.
    let take = || {
        let at = recado::domain::now();
        let ttl = std::time::Duration::from_secs(60);
        let (node, address) = ("n".to_owned(), "a".to_owned());
        Write::TakeLease(TakeLease { shard: Shard(0), node, address, held: None, at, ttl })
    };
    let store = SqliteStore::open(&data).await.unwrap();
    let mut lost = Epoch(0);
    for _ in 0..5 {
        let answers = store.commit([take()].into()).await.unwrap();
        let Ok(Outcome::Lease(Some(epoch))) = &answers[0] else { panic!("{answers:?}") };
        lost = *epoch;
    }
    store.close().await;

    restore_sqlite(&written.file, &data, true).await.unwrap();
    let store = SqliteStore::open(&data).await.unwrap();
    let answers = store.commit([take()].into()).await.unwrap();
    let Ok(Outcome::Lease(Some(now))) = &answers[0] else { panic!("{answers:?}") };
    assert!(now.0 > lost.0, "{now:?} is not above {lost:?}");
    let stamp = Write::Stamp(Fence { shard: Shard(0), epoch: lost }, 10);
    let answers = store.commit([stamp].into()).await.unwrap();
    assert_eq!(answers[0].as_ref().unwrap_err().kind, Kind::Fenced);
    let stamp = Write::Stamp(Fence { shard: Shard(0), epoch: *now }, 10);
    assert!(store.commit([stamp].into()).await.unwrap()[0].is_ok());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_backs_up_a_running_service_and_asks_how_it_is() {
    let mut app = TestApp::start().await;
    app.unfinished = true;
    let folder = tempfile::tempdir().unwrap();
    let recado = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_recado"));
        command.args(arguments).env_clear().env("RECADO_DATA_DIR", app.data().parent().unwrap());
        let done = command.env("RECADO_LISTEN", app.base.trim_start_matches("http://")).output().unwrap();
        let said =
            String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        (done.status.code(), said)
    };
    app.until("readiness", async || (recado(&["health"]).0 == Some(0)).then_some(())).await;
    let (code, said) = recado(&["backup", "--to", folder.path().to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{said}");
    let (code, said) = recado(&["restore", files[0].to_str().unwrap(), "--force"]);
    assert_eq!(code, Some(1), "a running service keeps its tables: {said}");
    assert!(said.contains("data_folder_in_use"), "{said}");
    let (code, said) = recado(&["health", &format!("{}/nowhere", app.base)]);
    assert_eq!(code, Some(1), "{said}");
    let (code, said) = recado(&["doctor", "--variables"]);
    assert_eq!((code, said), (Some(0), recado::config::table()));
}
