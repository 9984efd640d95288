//! The rig of the benches and the kill tests: real processes on loopback, and load that costs little itself.
//!
//! Promises: every process it starts is ended by its own id, also after a panic; every wait and every loop has an end;
//! the load runs on one thread, because it shares the machine with what it measures.

#![allow(dead_code, reason = "each bench uses its part of the rig")]

pub(crate) mod api;
pub(crate) mod chance;
pub(crate) mod feed;
pub(crate) mod figures;
pub(crate) mod leaks;
pub(crate) mod plain;
pub(crate) mod process;
pub(crate) mod usage;
pub(crate) mod wire;
pub(crate) mod world;

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::timeout;

/// No bench takes longer.
const WHOLE: Duration = Duration::from_secs(30 * 60);

/// Runs a bench on one thread. `cargo test --all-targets` starts benches without `--bench`: it is told what to do.
pub(crate) fn bench(name: &str, work: impl Future<Output = Result<()>>) -> Result<()> {
    if !std::env::args().any(|argument| argument == "--bench") {
        figures::say(&format!("skipped: a measurement, not a test; run `cargo bench --bench {name}`"));
        return Ok(());
    }
    alone(work, WHOLE)
}

/// Runs `work` on this thread alone, for at most `within`.
pub(crate) fn alone<T>(work: impl Future<Output = Result<T>>, within: Duration) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { timeout(within, work).await.context("the whole took too long")? })
}

/// The text that a server gives for a path, whatever its status.
pub(crate) async fn plain_get(addr: std::net::SocketAddr, path: &str) -> Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
    let mut wire = wire::Wire::connect(addr).await?;
    let (_status, body) = wire.ask(request.as_bytes()).await?;
    Ok(String::from_utf8_lossy(body).into_owned())
}

/// Whether this word was given on the command line.
pub(crate) fn asked(word: &str) -> bool {
    std::env::args().any(|argument| argument == word)
}

/// A number from the environment, or its default.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
