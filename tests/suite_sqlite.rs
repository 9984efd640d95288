//! The store's contract on SQLite, and what is SQLite's own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::or_fun_call,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers are no tests to the linter"
)]

#[path = "suite/invariants.rs"]
mod invariants;
#[path = "suite/store/mod.rs"]
#[macro_use]
mod store;

use std::sync::Arc;
use std::task::Poll;

use futures_util::poll;
use recado::domain::Kind;
use recado::infra::store::Store;
use recado::infra::store::sqlite::SqliteStore;
use store::world::{Fixture, World};

async fn open() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("recado.db")).await.unwrap();
    Fixture { store: Arc::new(store), keep: Box::new(folder) }
}

store_suite!(open);

#[tokio::test]
async fn one_file_is_open_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/recado.db");
    let first = SqliteStore::open(&path).await.unwrap();
    let refusal = SqliteStore::open(&path).await.err().unwrap();
    assert_eq!((refusal.kind, refusal.code), (Kind::Conflict, "data_folder_in_use"));
    first.close().await;
    drop(first);
    SqliteStore::open(&path).await.unwrap().probe().await.unwrap();
}

#[tokio::test]
async fn what_is_committed_is_there_after_a_reopen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recado.db");
    let store = Arc::new(SqliteStore::open(&path).await.unwrap());
    let world = World::new(Fixture { store: store.clone(), keep: Box::new(()) }).await;
    let session = world.session().await;
    let accept = world.message(session, "hola");
    world.accept(&accept).await.unwrap();
    // Not closed: the log is what a crash leaves behind.
    drop((world.give_back(), store));
    let again = SqliteStore::open(&path).await.unwrap();
    let message = accept.message.unwrap().id;
    assert!(again.message(accept.tenant, message).await.unwrap().is_some());
}

#[tokio::test]
async fn migrations_go_back_and_forth() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recado.db");
    SqliteStore::open(&path).await.unwrap().close().await;
    SqliteStore::revert(&path, 0).await.unwrap();
    let world = World::new(Fixture {
        store: Arc::new(SqliteStore::open(&path).await.unwrap()),
        keep: Box::new(folder),
    })
    .await;
    let session = world.session().await;
    world.accept(&world.message(session, "hola")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_abandoned_anywhere_leaves_all_or_nothing_and_the_next_one_works() {
    let world = World::new(open().await).await;
    let session = world.session().await;
    let (mut done, mut started) = (0, 0);
    for steps in 0..40 {
        let accept = world.message(session, "hola");
        let batch = [recado::domain::write::Write::Accept(accept.clone())];
        let mut commit = Box::pin(world.store.commit(batch.into()));
        let mut finished = false;
        for _ in 0..steps {
            if let Poll::Ready(answers) = poll!(&mut commit) {
                finished = answers.unwrap().iter().all(Result::is_ok);
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(commit);
        started += 1;
        let kept = world.accept(&world.message(session, "después")).await.is_ok();
        assert!(kept, "the store works after a commit abandoned at step {steps}");
        let message = accept.message.unwrap().id;
        let there = world.store.message(accept.tenant, message).await.unwrap().is_some();
        assert!(there || !finished, "an answered commit is there");
        done += usize::from(there);
    }
    let view = world.view(session).await;
    assert_eq!(view.queued, i64::try_from(done + started).unwrap());
    world.settle().await;
    world.check(invariants::Open::Allowed).await;
}

#[tokio::test]
async fn a_database_held_by_another_is_unavailable_and_nothing_is_applied() {
    use sqlx::{ConnectOptions, Connection};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recado.db");
    let store = Arc::new(SqliteStore::open(&path).await.unwrap());
    let world = World::new(Fixture { store, keep: Box::new(folder) }).await;
    let session = world.session().await;
    let mut other = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    sqlx::query("begin immediate").execute(&mut other).await.unwrap();
    let accept = world.message(session, "hola");
    let refusal = world.accept(&accept).await.unwrap_err();
    assert_eq!((refusal.kind, refusal.code), (Kind::Unavailable, "store_unavailable"));
    // Reading goes on meanwhile.
    assert_eq!(world.view(session).await.queued, 0);
    sqlx::query("rollback").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    world.accept(&accept).await.unwrap();
    assert_eq!(world.view(session).await.queued, 1);
}

#[tokio::test]
async fn the_audit_log_is_neither_changed_nor_cut() {
    use sqlx::ConnectOptions;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recado.db");
    let store = Arc::new(SqliteStore::open(&path).await.unwrap());
    let world = World::new(Fixture { store, keep: Box::new(folder) }).await;
    let entry = store::people::audit(world.tenant, "session.created").unwrap();
    let record = recado::domain::write::PeopleWrite::Record(entry);
    world.done(recado::domain::write::Write::People(Box::new(record))).await;
    let mut other = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    for sql in [
        "update audit_log set action = 'x'",
        "delete from audit_log",
        "insert or replace into audit_log select id, tenant_id, at, actor_kind, actor_id, 'x', target_kind, target_id, \
         request_id, client, detail from audit_log",
    ] {
        let tried = sqlx::query(sql).execute(&mut other).await;
        assert!(tried.is_err(), "{sql}");
    }
    let kept: i64 = sqlx::query_scalar("select count(*) from audit_log where action = 'session.created'")
        .fetch_one(&mut other)
        .await
        .unwrap();
    assert_eq!(kept, 1);
}
