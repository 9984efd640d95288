//! Plain SQLite, the yardstick: what this disk and this library can do without us.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use tokio::time::Instant;

use super::figures::rate;

async fn open(folder: &Path) -> Result<SqliteConnection> {
    let mut conn = SqliteConnectOptions::new()
        .filename(folder.join("plain.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await?;
    sqlx::query("create table if not exists plain (id integer primary key, body text not null)")
        .execute(&mut conn)
        .await?;
    Ok(conn)
}

/// Commits of one row each, per second, one after the other.
pub(crate) async fn commits(folder: &Path, body: &str, time: Duration) -> Result<f64> {
    let mut conn = open(folder).await?;
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < time {
        sqlx::query("insert into plain (body) values (?)").bind(body).execute(&mut conn).await?;
        count += 1;
    }
    let elapsed = started.elapsed();
    conn.close().await?;
    Ok(rate(count, elapsed))
}

/// Inserts of these bodies per second, one statement per row, so many rows in one transaction.
pub(crate) async fn inserts(folder: &Path, bodies: &[String], batch: usize) -> Result<f64> {
    let mut conn = open(folder).await?;
    let started = Instant::now();
    for rows in bodies.chunks(batch) {
        let mut tx = conn.begin().await?;
        for body in rows {
            sqlx::query("insert into plain (body) values (?)").bind(body).execute(&mut *tx).await?;
        }
        tx.commit().await?;
    }
    let elapsed = started.elapsed();
    conn.close().await?;
    Ok(rate(bodies.len(), elapsed))
}
