//! `recado serve`: the service, until it is told to stop or its tree fails.

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use super::service::Service;
use crate::config::Config;
use crate::telemetry;

/// The exit status of a tree that failed.
const TREE_FAILED: u8 = 70;

/// The exit status of a stop that did not end within its deadline.
const STOP_LATE: u8 = 75;

/// Serves. The first start prints the first API key, once.
///
/// # Errors
/// When the configuration is wrong or something does not start.
pub async fn run() -> Result<u8> {
    let config = Config::from_environment()?;
    telemetry::start_logs(&config.log_level, config.log_format)?;
    let key_file = config.api_key_file.clone();
    let mut service = Service::start(config, Vec::new()).await?;
    if let Some(key) = service.key_at_first_start().await? {
        tell_key(&key, key_file.as_deref())?;
    }
    tracing::info!(url = service.url(), "serving");
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let failed = tokio::select! {
        () = service.failed() => true,
        _ = term.recv() => false,
        _ = int.recv() => false,
    };
    if failed {
        tracing::error!("the supervision tree failed");
        return Ok(TREE_FAILED);
    }
    tracing::info!("stopping");
    tokio::select! {
        stopped = service.stop() => Ok(if stopped { 0 } else { STOP_LATE }),
        // A second signal ends at once.
        _ = term.recv() => Ok(STOP_LATE),
        _ = int.recv() => Ok(STOP_LATE),
    }
}

#[expect(clippy::print_stdout, reason = "the one time the key is shown")]
fn tell_key(key: &str, file: Option<&std::path::Path>) -> Result<()> {
    println!("API key: {key}");
    println!("It is shown this once; only its hash is kept.");
    if let Some(file) = file {
        service_key_file(file, key)?;
    }
    Ok(())
}

fn service_key_file(file: &std::path::Path, key: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    file.write_all(key.as_bytes())?;
    Ok(())
}
