//! `recado restore`: a backup in the place of the tables.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::{backup, engines};
use crate::config::Config;
use crate::infra::store::backup::{restore_postgres, restore_sqlite};

/// What it must be told.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup.
    file: PathBuf,
    /// `SQLite`: put tables that are there aside; without it they are a reason to refuse. Postgres: they always are.
    #[arg(long)]
    force: bool,
}

/// Restores and says what is there now.
///
/// # Errors
/// When the configuration is wrong, the backup is damaged or newer than this program, or the tables are in use.
#[expect(clippy::print_stdout, reason = "its output is for whoever runs it")]
pub async fn run(args: &RestoreArgs) -> Result<u8> {
    let config = Config::from_environment()?;
    let contents = match &config.database {
        Some(url) => restore_postgres(&url.0, &args.file).await,
        None => restore_sqlite(&args.file, &engines::data_file(&config), args.force).await,
    };
    println!("restored: {}", backup::told(&contents.context("nothing was restored")?));
    println!("What was accepted or received after the backup is not in it: see docs/operations.md, Restore.");
    if config.redis.is_some() {
        println!(
            "Before the service starts: empty Redis of the streams. They hold what these tables do not know any more; \
             until they are empty nothing is appended to them."
        );
    }
    Ok(0)
}
