//! `recado serve`: the service, until it is told to stop or its tree fails.
//!
//! `recado serve --print-config` says what it would run with: the words that start it and one more, so that what is shown
//! is what this start would read.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::service::Service;
use crate::config;
use crate::infra::private_file;
use crate::telemetry;

/// The exit status of a tree that failed.
const TREE_FAILED: u8 = 70;

/// The exit status of a stop that did not end within its deadline.
const STOP_LATE: u8 = 75;

/// What it may be told.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Print every setting, where it comes from, and what is wrong, secrets masked; then end. Status 1 when something
    /// is wrong.
    #[arg(long)]
    print_config: bool,
}

/// Serves. The first start tells the first API key, once; a start after one that was cut off before that tells it again.
///
/// # Errors
/// When the configuration is wrong or something does not start.
pub async fn run(args: &ServeArgs) -> Result<u8> {
    let config::Inspected { settings, config } = config::inspect();
    if args.print_config {
        let mut out = std::io::stdout().lock();
        settings.iter().try_for_each(|setting| writeln!(out, "{setting}"))?;
        out.flush()?;
        return Ok(config.map(|_fine| 0)?);
    }
    let config = config?;
    telemetry::start_logs(&config.log_level, config.log_format)?;
    telemetry::log_panics();
    for warning in &config.warnings {
        tracing::warn!("{warning}; production would refuse it");
    }
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
