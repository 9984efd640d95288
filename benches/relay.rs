//! How fast the relay drains 100,000 waiting events into the stream, against plain inserts of the same bodies; with
//! `-- --redis`, 200,000 from Postgres into Redis, against pipelined XADD.
//!
//! The outbox is filled through the store while no relay runs; then ledger and relay are started as in the tree.

#![allow(clippy::wildcard_enum_match_arm, reason = "any other answer is a mistake")]

mod engines;
#[path = "relay/outbox.rs"]
mod outbox;
#[path = "relay/redis.rs"]
mod redis;
mod rig;
#[path = "relay/tree.rs"]
mod tree;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outbox::{BATCH, bodies, fill, own, sessions};
use recado::infra::store::Store;
use recado::infra::store::sqlite::SqliteStore;
use recado::infra::stream::Stream;
use recado::infra::stream::memory::{Limits, MemoryStream};
use rig::figures::{last_line, rate, round, say};
use rig::world::folder;
use rig::{plain, setting};
use serde_json::json;
use tree::drain;

fn main() -> Result<()> {
    if rig::asked("--redis") {
        return rig::bench("relay", redis::measure());
    }
    rig::bench("relay", measure())
}

async fn measure() -> Result<()> {
    let folder = folder()?;
    let waiting = i64::try_from(setting("RELAY_EVENTS", 100_000))?;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.path().join("recado.db")).await?);
    let fence = own(&*store).await?;
    say(&format!("filling the outbox with {waiting} events…"));
    let waiting = fill(&*store, &sessions(&*store).await?, waiting).await?;
    let stream: Arc<dyn Stream> = Arc::new(MemoryStream::new(Limits::default()));
    let took = drain(&store, &stream, fence, waiting).await?;
    let per_second = rate(usize::try_from(waiting)?, took);

    let bodies = bodies(&*store).await?;
    ensure!(bodies.len() == usize::try_from(waiting)?, "{} of {waiting} numbered", bodies.len());
    let inserts = plain::inserts(folder.path(), &bodies, BATCH).await?;
    let body = bodies.first().context("no body")?;
    let commits = plain::commits(folder.path(), body, Duration::from_secs(3)).await?;
    say(&format!("  drained {waiting} events in {:.2} s: {per_second:.0} events/s", took.as_secs_f64()));
    say(&format!(
        "  plain inserts of the same bodies, {BATCH} per transaction: {inserts:.0}/s; one per transaction: {commits:.0}/s"
    ));
    last_line(
        "relay",
        &json!({
            "events": waiting, "eventsPerSecond": per_second, "seconds": round(took.as_secs_f64()),
            "plainInsertsPerSecond": inserts, "plainCommitsPerSecond": commits, "ratio": round(per_second / inserts),
        }),
    );
    Ok(())
}
