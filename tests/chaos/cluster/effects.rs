//! The sink of the workers' group: its tables, and what became of the events there.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::{Result, ensure};
use sqlx::{Connection, Row};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::Cluster;
use super::audit::connect;

/// How long the last effects may take once the load has ended.
const DONE: Duration = Duration::from_secs(120);

const TABLES: &[&str] = &[
    "create table chaos_calls (n bigint generated always as identity, event_id uuid not null)",
    "create table chaos_inbox (event_id uuid primary key)",
    "create table chaos_effects (n bigint generated always as identity, event_id uuid not null,
        session_id uuid not null, seq bigint not null)",
];

/// Makes the sink's tables.
pub(crate) async fn begin(cluster: &Cluster) -> Result<()> {
    let mut conn = connect(&cluster.tables).await?;
    for sql in TABLES {
        sqlx::query(*sql).execute(&mut conn).await?;
    }
    Ok(conn.close().await?)
}

/// What became of the events.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) done: usize,
    /// Events without their effect.
    pub(crate) missing: usize,
    /// Effects of the same event, by what it is and not by the id that the inbox knows it by.
    pub(crate) duplicates: usize,
    /// What a sink without an inbox would have done once more.
    pub(crate) repeats: usize,
    /// Effects of a session that came before those of an earlier event.
    pub(crate) disorder: usize,
}

/// Waits until every event has had its effect, and looks.
pub(crate) async fn read(cluster: &Cluster) -> Result<Effects> {
    let mut conn = connect(&cluster.tables).await?;
    let missing = "select count(*) from events e where log = 0
        and not exists (select from chaos_inbox i where i.event_id = e.event_id)";
    let until = Instant::now() + DONE;
    let mut found = Effects::default();
    loop {
        found.missing = usize::try_from(sqlx::query(missing).fetch_one(&mut conn).await?.get::<i64, _>(0))?;
        if found.missing == 0 || Instant::now() > until {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let (mut seen, mut last) = (HashSet::new(), HashMap::<Uuid, i64>::new());
    let rows =
        sqlx::query("select session_id, seq from chaos_effects order by n").fetch_all(&mut conn).await?;
    for row in &rows {
        let (session, seq): (Uuid, i64) = (row.get(0), row.get(1));
        found.duplicates += usize::from(!seen.insert((session, seq)));
        let before = last.insert(session, seq).unwrap_or(0);
        found.disorder += usize::from(seq <= before);
    }
    found.done = rows.len();
    let calls: i64 = sqlx::query("select count(*) from chaos_calls").fetch_one(&mut conn).await?.get(0);
    found.repeats = usize::try_from(calls)?.saturating_sub(found.done);
    conn.close().await?;
    ensure!(found.done > 0, "no effect at all");
    Ok(found)
}
