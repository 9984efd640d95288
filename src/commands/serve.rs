//! `recado serve`: the service, until it is told to stop or its tree fails.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::service::Service;
use crate::config::Config;
use crate::infra::private_file;
use crate::telemetry;

/// The exit status of a tree that failed.
const TREE_FAILED: u8 = 70;

/// The exit status of a stop that did not end within its deadline.
const STOP_LATE: u8 = 75;

/// Serves. The first start tells the first API key, once; a start after one that was cut off before that tells it again.
///
/// # Errors
/// When the configuration is wrong or something does not start.
pub async fn run() -> Result<u8> {
    let config = Config::from_environment()?;
    telemetry::start_logs(&config.log_level, config.log_format)?;
    let key_file = config.api_key_file.clone();
    let service = Service::start(config, Vec::new()).await?;
    if let Some(key) = service.first_key().await? {
        tell_key(&key, key_file.as_deref())?;
        service.first_key_told()?;
    }
    tracing::info!(url = service.url(), "serving");
    until_told(service).await
}

/// Until a signal or the end of the tree; then an orderly stop.
async fn until_told(mut service: Service) -> Result<u8> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        () = service.failed() => {
            tracing::error!("the supervision tree failed");
            return Ok(TREE_FAILED);
        }
        () = told(&mut term, &mut int) => tracing::info!("stopping"),
    }
    tokio::select! {
        stopped = service.stop() => Ok(if stopped { 0 } else { STOP_LATE }),
        // A second signal ends at once.
        () = told(&mut term, &mut int) => Ok(STOP_LATE),
    }
}

async fn told(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

fn tell_key(key: &str, file: Option<&Path>) -> Result<()> {
    if let Some(file) = file {
        private_file::replace(file, key).with_context(|| format!("the API key file {}", file.display()))?;
    }
    // Not `println!`: it gives up by a panic, and a key that nobody could read must not be forgotten.
    let mut out = std::io::stdout().lock();
    writeln!(out, "API key: {key}\nIt is shown this once; only its hash is kept.")?;
    Ok(out.flush()?)
}
