//! A backup of the embedded tables: `VACUUM INTO` on a connection of its own that only reads.
//!
//! Promises: neither the lock nor the writer of the store is needed, so any process may take it; it is the state of
//! one moment, since SQLite copies within one read transaction; an abandoned backup stops at once and leaves nothing.
//! What it costs meanwhile: SQLite's log cannot be emptied, so it grows by what is committed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, InterruptHandle, OpenFlags};

use super::{Backups, Contents, Rows, Written, folder};
use crate::domain::error::{Error, Result};
use crate::domain::time::now;

/// How long a backup may take. A gigabyte takes some seconds.
const WITHIN: Duration = Duration::from_secs(60 * 60);

/// How long a statement waits for the file.
const BUSY: Duration = Duration::from_secs(5);

/// What a backup's name ends in.
const ENDING: &str = ".db";

const COPY: &str = "vacuum into ?";
const CHECK: &str = "pragma quick_check(1)";
const VERSION: &str = "select max(version) from _sqlx_migrations";
const LAST_EVENT: &str = "select coalesce(max(id), 0) from events";
const TABLES: &str =
    "select name from sqlite_schema where type = 'table' and name not like 'sqlite~_%' escape '~'";

/// The tables in one SQLite file, whoever has it open.
pub struct SqliteBackups {
    data: PathBuf,
}

impl SqliteBackups {
    /// Of the file at `data`, which may be in use.
    #[must_use]
    pub fn of(data: &Path) -> Self {
        Self { data: data.to_owned() }
    }
}

/// Stops what runs on a connection when nobody waits for it any more.
struct Cut(InterruptHandle);

impl Drop for Cut {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}

#[async_trait]
impl Backups for SqliteBackups {
    async fn backup(&self, into: &Path) -> Result<Written> {
        let (source, into) = (reading(&self.data)?, into.to_owned());
        let _cut = Cut(source.get_interrupt_handle());
        let work = tokio::task::spawn_blocking(move || copy(&source, &into));
        let late = |_elapsed| Error::unavailable("backup_late", "the backup was not done in time");
        let done = tokio::time::timeout(WITHIN, work).await.map_err(late)?;
        done.map_err(|panicked| Error::bug(format!("the backup: {panicked}")))?
    }
}

/// A connection that changes nothing.
pub(super) fn reading(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(failed)?;
    conn.busy_timeout(BUSY).map_err(failed)?;
    Ok(conn)
}

fn copy(source: &Connection, into: &Path) -> Result<Written> {
    folder::prepare(into)?;
    let at = now();
    let before: i64 = source.query_row(LAST_EVENT, (), |row| row.get(0)).map_err(failed)?;
    let file = folder::partial(into)?;
    let target = file.path().to_str();
    let target = target.ok_or_else(|| Error::invalid("folder", "backup_folder_unusable", "is not UTF-8"))?;
    source.execute(COPY, [target]).map_err(failed)?;
    // What is read back is what the disk has to give later, as far as a program can see.
    file.as_file().sync_all().map_err(folder::unusable)?;
    let copied = reading(file.path())?;
    let contents = checked(&copied)?;
    let after: i64 = copied.query_row(LAST_EVENT, (), |row| row.get(0)).map_err(failed)?;
    drop(copied);
    if after < before {
        return Err(Error::bug("a backup lacks events that were there before it began"));
    }
    let bytes = file.as_file().metadata().map_err(folder::unusable)?.len();
    let file = folder::publish(file, into, at, ENDING)?;
    Ok(Written { file, bytes, contents })
}

/// What a file of tables holds, when it is sound.
pub(super) fn checked(conn: &Connection) -> Result<Contents> {
    let verdict: String = conn.query_row(CHECK, (), |row| row.get(0)).map_err(unreadable)?;
    if verdict != "ok" {
        return Err(Error::conflict("backup_damaged", format!("the file is damaged: {verdict}")));
    }
    let migration = conn.query_row(VERSION, (), |row| row.get(0)).map_err(unreadable)?;
    let mut tables = conn.prepare(TABLES).map_err(unreadable)?;
    let tables = tables.query_map((), |row| row.get::<_, String>(0)).map_err(unreadable)?;
    let mut rows = Rows::new();
    for table in tables {
        let table = table.map_err(unreadable)?;
        let count = format!("select count(*) from \"{}\"", table.replace('"', "\"\""));
        let count: i64 = conn.query_row(&count, (), |row| row.get(0)).map_err(unreadable)?;
        rows.insert(table, u64::try_from(count).unwrap_or_default());
    }
    Ok(Contents { migration, rows })
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
pub(super) fn failed(error: rusqlite::Error) -> Error {
    Error::unavailable("backup_failed", error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn unreadable(error: rusqlite::Error) -> Error {
    Error::conflict("backup_unreadable", format!("the file does not read as Recado's tables: {error}"))
}
