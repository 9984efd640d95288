//! Opening, closing, and servers that go away.

use std::time::Duration;

use recado::domain::Kind;
use recado::infra::store::Store;
use recado::infra::store::postgres::{PostgresStore, Settings};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{beside, count, small, store};
use crate::SERVER;
use crate::invariants::Open;
use crate::servers::postgres::{Postgres, Setup};
use crate::store::world::{Fixture, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_make_the_tables_once() {
    let url = SERVER.create_database(None).await;
    let mut starting = JoinSet::new();
    for _ in 0..6 {
        let url = url.clone();
        starting.spawn(async move { PostgresStore::open(&url, small()).await.map(drop) });
    }
    for opened in starting.join_all().await {
        opened.unwrap();
    }
    let mut conn = beside(&url).await;
    assert_eq!(count(&mut conn, "select count(*) from _sqlx_migrations").await, 4);
    assert_eq!(count(&mut conn, "select count(*) from partitions where parent = 'events'").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_go_back_and_forth() {
    let url = SERVER.create_database(None).await;
    store(&url).await.close().await;
    PostgresStore::revert(&url, 0).await.unwrap();
    let mut conn = beside(&url).await;
    let left = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
        where n.nspname = 'public' and c.relkind in ('r', 'p', 'S') and c.relname not like '\\_sqlx%'";
    assert_eq!(count(&mut conn, left).await, 0);
    let world = World::new(Fixture { store: store(&url).await, keep: Box::new(()) }).await;
    let session = world.session().await;
    world.accept(&world.message(session, "hola")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_the_server_has_no_room_for_is_refused_with_what_to_change() {
    let url = crate::database().await;
    let settings = Settings { max_connections: 100_000, ..Settings::default() };
    let refusal = PostgresStore::open(&url, settings).await.err().unwrap();
    assert_eq!((refusal.kind, refusal.code), (Kind::Invalid, "store_too_many_connections"));
    assert!(refusal.message.contains("100000") && refusal.message.contains("max_connections"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_error_names_the_password() {
    for url in [
        "postgres://ana:s3cr3t-word@127.0.0.1:1/recado",
        "postgres://ana:s3cr3t-word@127.0.0.1:notaport/recado",
        "mysql://ana:s3cr3t-word@127.0.0.1/recado",
        "postgres://ana:s3cr3t-word@127.0.0.1/recado?sslmode=sometimes",
    ] {
        let refusal = PostgresStore::open(url, small()).await.err().unwrap();
        assert!(matches!(refusal.kind, Kind::Invalid | Kind::Unavailable), "{url}");
        assert!(!format!("{refusal:?} {refusal}").contains("s3cr3t-word"), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_away_is_used_again_and_nothing_answered_is_lost() {
    // One of its own, that writes to disk.
    let server = Postgres::own(Setup::default());
    let url = server.create_database(None).await;
    let world = World::new(Fixture { store: store(&url).await, keep: Box::new(()) }).await;
    let session = world.session().await;
    let mut accepted = Vec::new();
    for end in [Postgres::stop, Postgres::kill] {
        accepted.push(world.message(session, "antes"));
        world.accept(accepted.last().unwrap()).await.unwrap();
        end(&server);
        let refusal = world.accept(&world.message(session, "nadie")).await.unwrap_err();
        assert_eq!(refusal.kind, Kind::Unavailable);
        server.start();
        let back = Instant::now();
        accepted.push(world.message(session, "después"));
        while world.accept(accepted.last().unwrap()).await.is_err() {
            assert!(back.elapsed() < Duration::from_secs(5), "it is back within 5 s");
        }
    }
    for accept in &accepted {
        let id = accept.message.as_ref().unwrap().id;
        assert!(world.store.message(world.tenant, id).await.unwrap().is_some());
    }
    world.store.probe().await.unwrap();
    world.check(Open::Allowed).await;
    drop(world.give_back());
}
