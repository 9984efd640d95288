//! How many sends the API accepts, durably, per second, against single-row commits of plain SQLite on the same disk; with
//! `-- --postgres`, against single-row inserts by pgbench on the same Postgres.
//!
//! 64 connections send to 64 stopped sessions, first with an `Idempotency-Key` on every request, then without (the
//! figure: the key is the client's choice, and one more row with two entries in indexes), then by turns with the API key and
//! with a person's access token, whose ratio is what full authentication costs. Afterwards the service is killed and every answered 202 is counted in the store.

mod engines;
#[path = "accept/load.rs"]
mod load;
#[path = "accept/person.rs"]
mod person;
#[path = "accept/postgres.rs"]
mod postgres;
mod rig;

use std::time::Duration;

use anyhow::{Result, ensure};
use load::{CONNECTIONS, Load, ROW, load, load_by, sessions, stored};
use rig::figures::{last_line, round, say};
use rig::world::{Service, folder};
use rig::{plain, setting, usage};
use serde_json::json;

/// How often key and token take turns: the machine's mood changes within seconds.
const TURNS: u32 = 3;

fn main() -> Result<()> {
    if rig::asked("--postgres") {
        return rig::bench("accept", postgres::measure());
    }
    rig::bench("accept", measure())
}

async fn measure() -> Result<()> {
    let folder = folder()?;
    let time = Duration::from_secs(setting("ACCEPT_SECONDS", 6));
    let row = "x".repeat(ROW);
    say("plain SQLite, one row per commit, before…");
    let before = plain::commits(folder.path(), &row, Duration::from_secs(4)).await?;
    let mut service = Service::start(folder.path(), &[("RECADO_SESSION_QUEUE", "1000000")]).await?;
    let sessions = sessions(&mut service.api()).await?;
    say(&format!("accepting for 2 x {} s with {CONNECTIONS} connections…", time.as_secs()));
    let warm = load(&service, &sessions, Some("warm"), Duration::from_secs(1)).await?;
    let threads = usage::by_thread(service.pid()?)?;
    let mut keyed = load(&service, &sessions, Some("keyed"), time).await?;
    let line = usage::threads_line(&threads, &usage::by_thread(service.pid()?)?);
    let mut bare = load(&service, &sessions, None, time).await?;
    say("by turns with the key and with a person's access token…");
    let token = person::access_token(&service).await?;
    let (mut by_key, mut by_token) = (Load::default(), Load::default());
    for _turn in 0..TURNS {
        by_key.add(&load(&service, &sessions, None, time / TURNS).await?);
        by_token.add(&load_by(&service, &token, (&sessions, None), time / TURNS).await?);
    }

    service.kill();
    let after = plain::commits(folder.path(), &row, Duration::from_secs(4)).await?;
    service.again().await?;
    let stored = stored(&mut service.api()).await?;
    let answered = warm.accepted + keyed.accepted + bare.accepted + by_key.accepted + by_token.accepted;
    let missing = answered.saturating_sub(stored);
    let commits = f64::midpoint(before, after);
    say(&format!("  plain SQLite            {commits:.0} commits/s (before {before:.0}, after {after:.0})"));
    keyed.report("with idempotency keys", commits);
    bare.report("without keys", commits);
    by_key.report("by turns: API key", commits);
    by_token.report("by turns: access token", commits);
    say(&format!("  after kill -9           {stored} stored, {answered} answered with 202"));
    say(&format!("  service, by thread      {line}"));
    last_line(
        "accept",
        &json!({
            "ratio": round(bare.rate() / commits), "sendsPerSecond": bare.rate(), "commitsPerSecond": round(commits),
            "p50Ms": bare.times.percentile(0.5), "p99Ms": bare.times.percentile(0.99),
            "ratioWithKeys": round(keyed.rate() / commits), "sendsPerSecondWithKeys": keyed.rate(),
            "p50MsWithKeys": keyed.times.percentile(0.5), "p99MsWithKeys": keyed.times.percentile(0.99),
            "tokenToKey": round(by_token.rate() / by_key.rate()), "sendsPerSecondWithToken": by_token.rate(),
            "accepted": answered, "missingAfterKill": missing, "connections": CONNECTIONS,
        }),
    );
    ensure!(missing == 0, "{missing} answered with 202 and not stored");
    Ok(())
}
