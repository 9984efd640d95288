//! Backups: everything in the tables as of one moment, in one file.
//!
//! Promises: a backup is taken while the service runs and holds up no commit; whatever was accepted before it began is
//! in it; a file under a backup's name is whole, was read back after it was written, and is its owner's alone. What is
//! restored from it trusts no owner of before ([`next_epoch`]).
//!
//! Credentials are in it as they are in the tables: encrypted. The key is not.

mod catalogue;
mod dump;
mod folder;
mod postgres;
mod postgres_restore;
mod sqlite;
mod sqlite_restore;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::domain::error::Result;
use crate::domain::time::now;

pub use folder::prune;
pub use postgres::PostgresBackups;
pub use postgres_restore::restore as restore_postgres;
pub use sqlite::SqliteBackups;
pub use sqlite_restore::restore as restore_sqlite;

/// How many rows each table has.
pub type Rows = BTreeMap<String, u64>;

/// A finished backup.
#[derive(Clone, Debug)]
pub struct Written {
    /// Where it is.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What is in it.
    pub contents: Contents,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The number of the last migration its tables went through.
    pub migration: i64,
    /// How much is in each table.
    pub rows: Rows,
}

/// A kind of tables that can be backed up.
#[async_trait]
pub trait Backups: Send + Sync + 'static {
    /// Writes a backup into a folder, which is made if need be.
    async fn backup(&self, folder: &Path) -> Result<Written>;
}

/// The epoch that restored leases begin with, as far as theirs is lower: the time in seconds.
///
/// An owner of the time after the backup carries an epoch that the backup does not know, and must not be taken for the
/// next owner; and a stream that such an owner led refuses the epochs before its own. Epochs count takeovers, of which there is less than one a second, so no epoch ever given comes near; and
/// a restore of a restored store is later than that one was.
fn next_epoch() -> i64 {
    now().0 / 1000
}
