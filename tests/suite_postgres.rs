//! The store's contract on Postgres, and what is Postgres' own: several nodes on one set of tables.

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
#[path = "suite/postgres/mod.rs"]
mod own;
mod servers;
#[path = "suite/store/mod.rs"]
#[macro_use]
mod store;

use std::sync::{Arc, LazyLock};

use recado::infra::store::Store;
use recado::infra::store::postgres::{PostgresStore, Settings};
use servers::postgres::{Postgres, Setup};
use store::world::Fixture;
use tokio::sync::OnceCell;

/// One server for all tests of this process; nothing here is about power cuts.
static SERVER: LazyLock<Postgres> =
    LazyLock::new(|| Postgres::any(Setup { max_connections: 200, fsync: false }));

/// A database with tables, to be copied.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// A role as a service should have one, whom row-level security holds: the store's tests run as it.
const WALLED: &str = "recado_walled:secret@";

/// The role that tests look at the tables with, whom nothing holds.
const OWNER: &str = "recado:secret@";

/// The URL of a database with empty tables.
pub async fn database() -> String {
    let template = TEMPLATE.get_or_init(|| async {
        let url = SERVER.create_database(None).await;
        let mut conn = own::beside(&url).await;
        let role = "do $$ begin create role recado_walled login password 'secret'; \
            exception when duplicate_object then null; end $$";
        own::run(&mut conn, role).await;
        sqlx::Connection::close(conn).await.unwrap();
        let url = walled(&url).await;
        PostgresStore::open(&url, Settings::default()).await.unwrap().close().await;
        url.rsplit('/').next().unwrap().to_owned()
    });
    walled(&SERVER.create_database(Some(template.await)).await).await
}

/// The same database, given to the role that row-level security holds.
async fn walled(url: &str) -> String {
    let mut conn = own::beside(url).await;
    let name = url.rsplit('/').next().unwrap();
    own::run(&mut conn, &format!("alter database \"{name}\" owner to recado_walled")).await;
    sqlx::Connection::close(conn).await.unwrap();
    url.replace(OWNER, WALLED)
}

async fn open() -> Fixture {
    let store = PostgresStore::open(&database().await, Settings::default()).await.unwrap();
    Fixture { store: Arc::new(store), keep: Box::new(()) }
}

store_suite!(open);
