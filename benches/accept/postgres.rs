//! The same on Postgres and Redis, next to pgbench: single-row inserts into a table with one index, over TCP as we come,
//! prepared, on the same server, before and after.
//!
//! With 64 connections and with one. Afterwards the service is killed, then Postgres is cut off as by a crash; every
//! answered 202 must be in its tables.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::engines::Engines;
use crate::load::{CONNECTIONS, Load, ROW, load, sessions, stored};
use crate::rig::figures::{last_line, round, say};
use crate::rig::world::{Service, folder};
use crate::rig::{setting, usage};

/// Single-row inserts per second, with as many clients as we have connections and with one.
#[derive(Clone, Copy)]
struct Inserts {
    many: f64,
    one: f64,
}

impl Inserts {
    fn measured(engines: &Engines, time: Duration) -> Result<Self> {
        let many = engines.inserts(CONNECTIONS, ROW, time)?;
        Ok(Self { many, one: engines.inserts(1, ROW, time)? })
    }

    fn between(self, other: Self) -> Self {
        Self { many: f64::midpoint(self.many, other.many), one: f64::midpoint(self.one, other.one) }
    }
}

/// What the API took in.
struct Accepted {
    keyed: Load,
    bare: Load,
    one: Load,
    all: u64,
}

pub(crate) async fn measure() -> Result<()> {
    let folder = folder()?;
    let engines = Engines::start().await?;
    let time = Duration::from_secs(setting("ACCEPT_SECONDS", 6));
    say("single-row inserts by pgbench, before…");
    let before = Inserts::measured(&engines, time)?;
    let mut variables = engines.variables().to_vec();
    variables.push(("RECADO_SESSION_QUEUE", "1000000".to_owned()));
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut service = Service::start(folder.path(), &variables).await?;
    let mut accepted = accept(&service, time).await?;

    service.kill();
    let after = Inserts::measured(&engines, time)?;
    engines.crash();
    let rows = engines.number("select count(*) from session_messages").await?;
    service.again().await?;
    let queued = stored(&mut service.api()).await?;
    let stored = queued.min(u64::try_from(rows)?);
    report(&mut accepted, [before, after], stored)
}

async fn accept(service: &Service, time: Duration) -> Result<Accepted> {
    let sessions = sessions(&mut service.api()).await?;
    say(&format!("accepting for 3 x {} s with {CONNECTIONS} connections, and one…", time.as_secs()));
    let warm = load(service, &sessions, Some("warm"), Duration::from_secs(2)).await?;
    let keyed = load(service, &sessions, Some("keyed"), time).await?;
    let threads = usage::by_thread(service.pid()?)?;
    let bare = load(service, &sessions, None, time).await?;
    say(&format!(
        "  service, by thread      {}",
        usage::threads_line(&threads, &usage::by_thread(service.pid()?)?)
    ));
    let one = load(service, &sessions[..1], None, time).await?;
    let all = warm.accepted + keyed.accepted + bare.accepted + one.accepted;
    Ok(Accepted { keyed, bare, one, all })
}

fn report(accepted: &mut Accepted, [before, after]: [Inserts; 2], stored: u64) -> Result<()> {
    let Accepted { keyed, bare, one, all } = accepted;
    let inserts = before.between(after);
    let missing = all.saturating_sub(stored);
    for (clients, before, after) in [(CONNECTIONS, before.many, after.many), (1, before.one, after.one)] {
        say(&format!("  pgbench, {clients:>2} clients     {before:.0} inserts/s before, {after:.0} after"));
    }
    keyed.report("with idempotency keys", inserts.many);
    bare.report("without keys", inserts.many);
    one.report("one connection", inserts.one);
    say(&format!("  after kill -9 of both   {stored} stored, {all} answered with 202"));
    last_line(
        "accept",
        &json!({
            "store": "postgres", "ratio": round(bare.rate() / inserts.many), "sendsPerSecond": bare.rate(),
            "insertsPerSecond": round(inserts.many),
            "p50Ms": bare.times.percentile(0.5), "p99Ms": bare.times.percentile(0.99),
            "ratioWithKeys": round(keyed.rate() / inserts.many), "sendsPerSecondWithKeys": keyed.rate(),
            "ratioOne": round(one.rate() / inserts.one), "sendsPerSecondOne": one.rate(),
            "insertsPerSecondOne": round(inserts.one), "p50MsOne": one.times.percentile(0.5),
            "p99MsOne": one.times.percentile(0.99),
            "accepted": all, "missingAfterKill": missing, "connections": CONNECTIONS,
        }),
    );
    ensure!(missing == 0, "{missing} answered with 202 and not stored");
    Ok(())
}
