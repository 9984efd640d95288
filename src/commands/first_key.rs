//! The first API key, without which nobody gets in.
//!
//! Promises: whoever starts an empty store is told a key that works, whatever dies on the way. The store keeps only its
//! hash, so the text stays in a file of the data folder, for its owner alone, from before the key is stored until it
//! was told. A start that finds the file goes on from there; the worst that a crash does is to tell the same key again.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::actors::archive::Queries;
use crate::actors::ledger::Ledgers;
use crate::domain::ids::TenantId;
use crate::http;
use crate::infra::private_file;

/// The name of the file in the data folder.
const FILE: &str = "first-api-key";

/// Where the key waits until it is told.
pub(super) struct FirstKey(PathBuf);

impl FirstKey {
    pub(super) fn in_folder(data: &Path) -> Self {
        Self(data.join(FILE))
    }

    /// The key to tell, stored; `None` when there is nothing to tell.
    ///
    /// # Errors
    /// When the store or the folder does not answer, or the file holds something else.
    pub(super) async fn to_tell(&self, ledgers: &Ledgers, queries: &Queries) -> Result<Option<String>> {
        let key = match std::fs::read_to_string(&self.0) {
            Ok(untold) => untold,
            Err(missing) if missing.kind() == ErrorKind::NotFound => {
                if queries.keys(TenantId::DEFAULT).await? > 0 {
                    return Ok(None);
                }
                let key = http::new_key();
                if let Some(folder) = self.0.parent() {
                    // With Postgres and a given encryption key nothing else has needed it yet.
                    std::fs::create_dir_all(folder).context("the data folder cannot be made")?;
                }
                private_file::create(&self.0, &key).context("the first API key cannot be written down")?;
                key
            }
            Err(other) => return Err(other).with_context(|| format!("{} cannot be read", self.0.display())),
        };
        http::store_key(ledgers, TenantId::DEFAULT, "first key", &key)
            .await
            .with_context(|| format!("the key in {} cannot be stored", self.0.display()))?;
        Ok(Some(key))
    }

    /// The key was told: its text is forgotten.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub(super) fn told(&self) -> Result<()> {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} cannot be removed", self.0.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
