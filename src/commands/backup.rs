//! `recado backup`: all tables into one file. The service may run: neither its lock nor its writer is needed.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::engines;
use crate::config::Config;
use crate::infra::store::backup::Contents;

/// What it may be told.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Folder to write to, instead of `RECADO_BACKUP_DIR`.
    #[arg(long)]
    to: Option<PathBuf>,
}

/// Writes it and says what is in it. It removes no older ones: that is for the backups by the clock.
///
/// # Errors
/// When the configuration is wrong, or the backup cannot be written or does not read back.
#[expect(clippy::print_stdout, reason = "its output is for whoever runs it")]
pub async fn run(args: &BackupArgs) -> Result<u8> {
    let config = Config::from_environment()?;
    let folder = args.to.as_ref().unwrap_or(&config.backup.folder);
    let written = engines::backups(&config)?.backup(folder).await.context("no backup was taken")?;
    println!("{}  {} bytes", written.file.display(), written.bytes);
    println!("{}", told(&written.contents));
    println!("The encryption key is not in it: keep it elsewhere, without it no session comes back linked.");
    Ok(0)
}

/// What a backup holds, for people.
pub(super) fn told(contents: &Contents) -> String {
    let rows = |table: &str| contents.rows.get(table).copied().unwrap_or_default();
    let (sessions, messages, events) = (rows("sessions"), rows("session_messages"), rows("events"));
    let migration = contents.migration;
    format!("{sessions} sessions, {messages} messages, {events} events; tables of migration {migration}")
}
