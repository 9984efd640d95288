//! 47: tables taken back a version and brought forward again, with data in them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use recado::infra::store::postgres::PostgresStore;
use recado::infra::store::sqlite::SqliteStore;
use serde_json::json;
use sqlx::{Connection, Row};

use crate::check;
use crate::cluster::Made;
use crate::cluster::audit::connect;
use crate::cluster::node::Program;
use crate::rig::figures::say;
use crate::rig::world::{Sandbox, Service, folder, link_all, online};
use crate::stage::{Stage, play};
use crate::verdict::Verdict;

/// The version before the newest.
const BEFORE: i64 = 1;

/// What must be the same afterwards.
const COUNTED: [&str; 5] = ["sessions", "session_messages", "session_auth_keys", "commands", "idempotency"];

/// Postgres, under load before and after; and SQLite, at rest. With `CHAOS_OLD_BINARY`, that program serves the tables of
/// the version before in between.
pub(crate) async fn back_and_forward() -> Result<Verdict> {
    let (kept, events) = sqlite().await?;
    play("chaos-47", Made::default(), async |stage: &mut Stage| {
        stage.accepted_more(40).await?;
        for node in &mut stage.cluster.nodes {
            node.ask_to_stop()?;
        }
        for node in &mut stage.cluster.nodes {
            node.end(Duration::from_secs(30)).await?;
        }
        let before = counts(stage).await?;
        PostgresStore::revert(&stage.cluster.tables, BEFORE).await?;
        let back = counts(stage).await?;
        ensure!(before == back, "going back a version changed {before:?} to {back:?}");
        let old = std::env::var_os("CHAOS_OLD_BINARY").map(PathBuf::from);
        if let Some(old) = &old {
            run_as(stage, &Program::Other(old.clone())).await?;
            stage.accepted_more(40).await?;
            for node in &mut stage.cluster.nodes {
                node.ask_to_stop()?;
                node.end(Duration::from_secs(30)).await?;
            }
        }
        run_as(stage, &Program::Recado).await?;
        stage.accepted_more(40).await?;
        say(&format!("  tables back to version {BEFORE} and forward: {before:?} kept"));
        Ok(json!({
            "rowsBefore": before, "rowsLost": 0, "oldBinary": old.is_some(),
            "sqliteSessionsConnectedAgain": kept, "sqliteEventsReadable": events,
        }))
    })
    .await
}

async fn run_as(stage: &mut Stage, program: &Program) -> Result<()> {
    for node in &mut stage.cluster.nodes {
        node.program = program.clone();
        node.launch()?;
    }
    stage.cluster.ready().await.map(drop)
}

async fn counts(stage: &Stage) -> Result<BTreeMap<&'static str, i64>> {
    let mut conn = connect(&stage.cluster.tables).await?;
    let mut counts = BTreeMap::new();
    for table in COUNTED {
        let sql = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
        counts.insert(table, sqlx::query(sql).fetch_one(&mut conn).await?.get(0));
    }
    let logged = "select (select count(*) from events) + (select count(*) from outbox)";
    counts.insert("events", sqlx::query(logged).fetch_one(&mut conn).await?.get(0));
    conn.close().await?;
    Ok(counts)
}

/// The same on SQLite: how many sessions connected again, and how many events were read, all of them.
async fn sqlite() -> Result<(usize, usize)> {
    let folder = folder()?;
    let sandbox = Sandbox::start(folder.path()).await?;
    let mut service = Service::start(folder.path(), &[]).await?;
    let accounts = link_all(&service, &sandbox, (0..3).map(|n| format!("account-{n}"))).await?;
    let before = check::log(&service, 1).await?;
    service.stop(Duration::from_secs(30)).await?;
    SqliteStore::revert(&service.data().join("recado.db"), BEFORE).await?;
    service.again().await?;
    online(&sandbox, accounts.len() as u64, Duration::from_secs(60)).await.context("after the way back")?;
    let after = check::log(&service, 1).await?;
    ensure!(after.events >= before.events, "{} of {} events are left", after.events, before.events);
    ensure!(after.gaps + after.duplicates + after.disorder == 0, "the log is not whole any more");
    Ok((accounts.len(), after.events))
}
