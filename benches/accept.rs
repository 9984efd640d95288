//! How many sends the API accepts, durably, per second, against single-row commits of plain SQLite on the same disk.
//!
//! 64 connections send to 64 stopped sessions, first with an `Idempotency-Key` on every request, then without (the
//! figure: the key is the client's choice, and one more row with two entries in indexes). Afterwards the service is killed and every answered 202 is counted in the store.

mod rig;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rig::api::{Api, text};
use rig::figures::{Samples, last_line, rate, round, say};
use rig::wire::Wire;
use rig::world::{Service, folder};
use rig::{plain, setting, usage};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Clients, and sessions.
const CONNECTIONS: usize = 64;

/// What the yardstick stores per row: about the size of one send.
const ROW: usize = 250;

fn main() -> Result<()> {
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

    service.kill();
    let after = plain::commits(folder.path(), &row, Duration::from_secs(4)).await?;
    service.again().await?;
    let stored = stored(&mut service.api()).await?;
    let answered = warm.accepted + keyed.accepted + bare.accepted;
    let missing = answered.saturating_sub(stored);
    let commits = f64::midpoint(before, after);
    say(&format!("  plain SQLite            {commits:.0} commits/s (before {before:.0}, after {after:.0})"));
    keyed.report("with idempotency keys", commits);
    bare.report("without keys", commits);
    say(&format!("  after kill -9           {stored} stored, {answered} answered with 202"));
    say(&format!("  service, by thread      {line}"));
    last_line(
        "accept",
        &json!({
            "ratio": round(bare.rate() / commits), "sendsPerSecond": bare.rate(), "commitsPerSecond": round(commits),
            "p50Ms": bare.times.percentile(0.5), "p99Ms": bare.times.percentile(0.99),
            "ratioWithKeys": round(keyed.rate() / commits), "sendsPerSecondWithKeys": keyed.rate(),
            "p50MsWithKeys": keyed.times.percentile(0.5), "p99MsWithKeys": keyed.times.percentile(0.99),
            "accepted": answered, "missingAfterKill": missing, "connections": CONNECTIONS,
        }),
    );
    ensure!(missing == 0, "{missing} answered with 202 and not stored");
    Ok(())
}

async fn sessions(api: &mut Api) -> Result<Vec<String>> {
    let endpoint =
        json!({"kind": "sandbox", "url": "ws://127.0.0.1:9/ws/chat", "staticKey": "07".repeat(32)});
    let mut sessions = Vec::new();
    for n in 0..CONNECTIONS {
        let body = json!({"name": format!("accept-{n}"), "endpoint": endpoint, "start": false});
        sessions.push(text(&api.post("/sessions", &body).await?, "sessionId"));
    }
    Ok(sessions)
}

/// What the store holds: accepted and not finished, over all sessions.
async fn stored(api: &mut Api) -> Result<u64> {
    let sessions = api.all("/sessions").await?;
    Ok(sessions.iter().filter_map(|session| session["queued"].as_u64()).sum())
}

/// What one phase of load saw.
#[derive(Default)]
struct Load {
    accepted: u64,
    times: Samples,
    took: Duration,
}

impl Load {
    fn rate(&self) -> f64 {
        rate(self.times.len(), self.took)
    }

    fn report(&mut self, name: &str, commits: f64) {
        let (p50, p99) = (self.times.percentile(0.5), self.times.percentile(0.99));
        let (rate, ratio) = (self.rate(), self.rate() / commits);
        say(&format!("  {name:<23} {rate:.0} accepted/s = {ratio:.2} x; p50 {p50:.2} ms, p99 {p99:.2} ms"));
    }
}

/// Sends from every connection, one request after the other, until the time is over.
async fn load(service: &Service, sessions: &[String], keys: Option<&str>, time: Duration) -> Result<Load> {
    let started = Instant::now();
    let until = started + time;
    let mut clients = JoinSet::new();
    for (n, session) in sessions.iter().enumerate() {
        let to = format!("1555{n:07}");
        let body = json!({"to": to, "content": {"type": "text", "text": "A message of the usual length, about so."}});
        let key = keys.map(|phase| format!("{phase}-{n:03}-00000000"));
        let path = format!("/sessions/{session}/messages");
        let request = service.api().request("POST", &path, key.as_deref(), &body.to_string());
        clients.spawn(client(service.addr(), request, keys.is_some(), until));
    }
    let mut load = Load::default();
    while let Some(done) = clients.join_next().await {
        let (accepted, times) = done??;
        load.accepted += accepted;
        load.times.extend(&times);
    }
    load.took = started.elapsed();
    Ok(load)
}

/// The key's number stands before the first line end behind `idempotency-key`; it is counted up in place.
async fn client(
    addr: SocketAddr,
    mut request: Vec<u8>,
    keyed: bool,
    until: Instant,
) -> Result<(u64, Samples)> {
    let mut wire = Wire::connect(addr).await?;
    let number = if keyed { Some(place(&request).context("no key in the request")?) } else { None };
    let (mut accepted, mut times) = (0_u64, Samples::default());
    while Instant::now() < until {
        if let Some(end) = number {
            let digits = format!("{accepted:08}");
            request[end - digits.len()..end].copy_from_slice(digits.as_bytes());
        }
        let started = Instant::now();
        let (status, body) = wire.ask(&request).await?;
        ensure!(status == 202, "{status} {}", String::from_utf8_lossy(body));
        times.add(started.elapsed().as_secs_f64() * 1000.0);
        accepted += 1;
    }
    Ok((accepted, times))
}

fn place(request: &[u8]) -> Option<usize> {
    let name = b"idempotency-key: ";
    let start = request.windows(name.len()).position(|part| part == name)? + name.len();
    request[start..].iter().position(|byte| *byte == b'\r').map(|length| start + length)
}
