//! What a commit costs next to single-row inserts on the same server, with fsync. Run by hand:
//! `cargo test --release --test suite_postgres speed -- --ignored --nocapture`.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use recado::domain::write::{Idempotency, Write};
use recado::infra::store::postgres::{PostgresStore, Settings};

use tokio::time::Instant;

use crate::servers::postgres::{Postgres, Setup};
use crate::store::world::{Fixture, World};

/// How long each figure is measured.
const FOR: Duration = Duration::from_secs(5);

/// Sessions the messages go through.
const SESSIONS: usize = 1_000;

/// Single-row inserts a second, by pgbench; none where it is not installed.
fn inserts(server: &Postgres, clients: u32) -> Option<f64> {
    let script = tempfile::NamedTempFile::new().unwrap();
    let sql = "insert into plain (body) values ('a row of the size of a short message, more or less, give or take');\n";
    std::fs::write(script.path(), sql).unwrap();
    let mut bench = Command::new("pgbench");
    bench.args(["-n", "-M", "prepared", "-h", "127.0.0.1", "-U", "recado", "-p", &server.port().to_string()]);
    bench.args(["-c", &clients.to_string(), "-j", "2", "-T", &FOR.as_secs().to_string(), "-f"]);
    bench.arg(script.path()).arg("plain").env("PGPASSWORD", "secret");
    let told = String::from_utf8(bench.output().ok()?.stdout).unwrap();
    let figure = told.split("tps = ").nth(1)?.split(' ').next()?;
    figure.parse().ok()
}

/// Accepted messages a second, in batches of this size, one after the other.
async fn accepts(world: &World, sessions: &[recado::domain::ids::SessionId], size: usize, keys: bool) -> f64 {
    let (begun, mut done) = (Instant::now(), 0);
    while begun.elapsed() < FOR {
        let mut batch: Vec<_> = (0..size)
            .map(|n| {
                let mut accept =
                    world.message(sessions[(done + n) % sessions.len()], "hola, ¿qué tal estás?");
                if keys {
                    let key = uuid::Uuid::now_v7().to_string();
                    accept.idempotency = Some(Idempotency { key, fingerprint: [7; 32] });
                }
                Write::Accept(accept)
            })
            .collect();
        batch.push(Write::Stamp(world.fence, 10_000));
        let answers = world.store.commit(batch.into()).await.unwrap();
        assert!(answers.iter().all(Result::is_ok));
        done += size;
    }
    f64::from(u32::try_from(done).unwrap()) / begun.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures for half a minute, and its figures mean nothing beside other tests"]
async fn accepts_next_to_single_row_inserts() {
    let server = Postgres::own(Setup::default());
    server.create_named("plain", None).await;
    let mut conn = super::beside(&server.url("plain")).await;
    super::run(
        &mut conn,
        "create table plain (id bigint generated always as identity primary key, body text)",
    )
    .await;
    let url = server.create_database(None).await;
    let store = Arc::new(PostgresStore::open(&url, Settings::default()).await.unwrap());
    let world = World::new(Fixture { store, keep: Box::new(()) }).await;
    let mut sessions = Vec::new();
    let creates: Vec<_> = (0..SESSIONS).map(|_| world.create()).collect();
    sessions.extend(creates.iter().map(|create| create.session));
    for some in creates.chunks(500) {
        let batch: Vec<_> = some.iter().cloned().map(Write::CreateSession).collect();
        assert!(world.store.commit(batch.into()).await.unwrap().iter().all(Result::is_ok));
    }
    let (one, many) = (inserts(&server, 1), inserts(&server, 64));
    println!("single-row inserts a second: 1 client {one:?}, 64 clients {many:?}");
    for size in [1, 8, 60, 200] {
        let plain = accepts(&world, &sessions, size, false).await;
        let keyed = accepts(&world, &sessions, size, true).await;
        println!("batches of {size:>3}: {plain:>6.0} accepts a second, {keyed:>6.0} with keys");
    }
}
