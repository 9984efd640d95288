//! What only Postgres promises: many writers at once, servers that go away, partitions that come and go.

mod fences;
mod retention;
mod server;
mod walls;
mod writers;

use std::sync::Arc;

use recado::infra::store::postgres::{PostgresStore, Settings};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};

use crate::store::world::{Fixture, World};

/// Few connections each: nodes are many.
pub fn small() -> Settings {
    Settings { max_connections: 4, ..Settings::default() }
}

pub async fn store(url: &str) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::open(url, small()).await.unwrap())
}

/// A world on a database of its own, and the database's URL.
pub async fn world() -> (World, String) {
    let url = crate::database().await;
    let world = World::new(Fixture { store: store(&url).await, keep: Box::new(()) }).await;
    (world, url)
}

/// A connection beside the store's, that sees everything.
pub async fn beside(url: &str) -> PgConnection {
    let url = url.replace(crate::WALLED, crate::OWNER);
    url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap()
}

pub async fn run(conn: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await.unwrap();
}

pub async fn count(conn: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(conn).await.unwrap()
}
