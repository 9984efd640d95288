//! `recado migrate`: brings the tables up to date, without serving.

use anyhow::Result;

use super::engines;
use crate::config::Config;

/// Runs what is missing and says where the tables stand.
///
/// # Errors
/// When the configuration is wrong or the store does not open.
#[expect(clippy::print_stdout, reason = "its output is for whoever runs it")]
pub async fn run() -> Result<u8> {
    let config = Config::from_environment()?;
    let store = engines::open_store(&config).await?;
    println!("the tables in {} are up to date", config.data_dir.display());
    store.close().await;
    Ok(0)
}
