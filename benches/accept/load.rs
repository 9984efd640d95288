//! The load: sends from kept connections, one request after the other, and what became of them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::rig::api::{Api, text};
use crate::rig::figures::{Samples, rate, say};
use crate::rig::wire::Wire;
use crate::rig::world::Service;

/// Clients, and sessions.
pub(crate) const CONNECTIONS: usize = 64;

/// What the yardsticks store per row: about the size of one send.
pub(crate) const ROW: usize = 250;

/// Sessions that are not started, so that what is accepted stays.
pub(crate) async fn sessions(api: &mut Api) -> Result<Vec<String>> {
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
pub(crate) async fn stored(api: &mut Api) -> Result<u64> {
    let sessions = api.all("/sessions").await?;
    Ok(sessions.iter().filter_map(|session| session["queued"].as_u64()).sum())
}

/// What one phase of load saw.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) accepted: u64,
    pub(crate) times: Samples,
    took: Duration,
}

impl Load {
    /// What another phase of the same kind saw.
    pub(crate) fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.times.extend(&other.times);
        self.took += other.took;
    }

    pub(crate) fn rate(&self) -> f64 {
        rate(self.times.len(), self.took)
    }

    pub(crate) fn report(&mut self, name: &str, commits: f64) {
        let (p50, p99) = (self.times.percentile(0.5), self.times.percentile(0.99));
        let (rate, ratio) = (self.rate(), self.rate() / commits);
        say(&format!("  {name:<23} {rate:.0} accepted/s = {ratio:.2} x; p50 {p50:.2} ms, p99 {p99:.2} ms"));
    }
}

/// Sends to each of these sessions from a connection of its own until the time is over.
pub(crate) async fn load(
    service: &Service,
    sessions: &[String],
    keys: Option<&str>,
    time: Duration,
) -> Result<Load> {
    load_by(service, service.key(), (sessions, keys), time).await
}

/// The same with another credential than the service's key.
pub(crate) async fn load_by(
    service: &Service,
    bearer: &str,
    (sessions, keys): (&[String], Option<&str>),
    time: Duration,
) -> Result<Load> {
    let api = Api::new(service.addr(), Some(bearer.to_owned()));
    let started = Instant::now();
    let until = started + time;
    let mut clients = JoinSet::new();
    for (n, session) in sessions.iter().enumerate() {
        let to = format!("1555{n:07}");
        let body = json!({"to": to, "content": {"type": "text", "text": "A message of the usual length, about so."}});
        let key = keys.map(|phase| format!("{phase}-{n:03}-00000000"));
        let path = format!("/sessions/{session}/messages");
        let request = api.request("POST", &path, key.as_deref(), &body.to_string());
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
