//! Puts a backup in the place of the embedded tables.
//!
//! Promises: nothing is touched before the backup was read through; a running service is never pulled the file from
//! under; what was there before is kept beside it; the restored tables trust no owner of before. The stream of the
//! embedded engine is memory and refilled at the start, so nothing of the lost future is left in it.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use tempfile::NamedTempFile;

use super::sqlite::{checked, failed, reading};
use super::{Contents, folder, next_epoch};
use crate::domain::error::{Error, Result};
use crate::domain::time::now;
use crate::infra::store::sqlite;

const NO_OWNER: &str = "update leases set node = null, expires_at = 0, epoch = max(epoch + 1, ?)";
// Also for shards that had no owner yet when the backup was taken: they may have had one since.
const NO_FIRST: &str = "insert into leases (shard, node, address, epoch, expires_at) \
    with recursive shards (n) as (select 0 union all select n + 1 from shards \
        where n + 1 < coalesce((select cast(value as integer) from facts where name = 'shards'), 1)) \
    select n, null, '', ?, 0 from shards where true on conflict do nothing";
const NO_NODE: &str = "delete from nodes";
const NO_RELAY: &str = "update relays set epoch = max(epoch + 1, ?)";

/// Files that SQLite keeps beside its own.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// Restores the tables at `data` from `backup`. With `force` the tables that are there are put aside, under the same
/// name with the time; without it they are a reason to refuse.
///
/// # Errors
/// `Conflict` when the backup is damaged, newer than this program or none, when the tables are in use, or when there are
/// tables and `force` is not given; `Unavailable` when the disk does not do its part.
pub async fn restore(backup: &Path, data: &Path, force: bool) -> Result<Contents> {
    let (backup, data) = (backup.to_owned(), data.to_owned());
    let done = tokio::task::spawn_blocking(move || replace(&backup, &data, force)).await;
    done.map_err(|panicked| Error::bug(format!("the restore: {panicked}")))?
}

fn replace(backup: &Path, data: &Path, force: bool) -> Result<Contents> {
    if !backup.is_file() {
        return Err(Error::not_found("backup_not_found", format!("there is no file {}", backup.display())));
    }
    let contents = checked(&reading(backup)?)?;
    if contents.migration > sqlite::newest() {
        let text = format!(
            "the backup is of migration {}; this program knows up to {}",
            contents.migration,
            sqlite::newest()
        );
        return Err(Error::conflict("backup_newer", text));
    }
    let there = data.metadata().is_ok_and(|about| about.len() > 0);
    if there && !force {
        let text = format!("{} is there; --force puts it aside", data.display());
        return Err(Error::conflict("data_exists", text));
    }
    let _lock = sqlite::lock(data)?;
    let folder =
        data.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let fresh = prepared(backup, folder)?;
    if there {
        put_aside(data)?;
    }
    // An old log beside new tables would be taken for theirs.
    for beside in BESIDE {
        removed(&with(data, beside))?;
    }
    fresh.persist(data).map_err(|refused| folder::unusable(refused.error))?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(folder::unusable)?;
    Ok(contents)
}

/// A copy of the backup in the data folder, on the disk, without owners.
fn prepared(backup: &Path, folder: &Path) -> Result<NamedTempFile> {
    let mut copy = NamedTempFile::new_in(folder).map_err(folder::unusable)?;
    let mut source = std::fs::File::open(backup).map_err(folder::unusable)?;
    std::io::copy(&mut source, copy.as_file_mut()).map_err(folder::unusable)?;
    let conn = Connection::open(copy.path()).map_err(failed)?;
    // No log of its own: the one file is all there is to move.
    conn.pragma_update_and_check(None, "journal_mode", "delete", |_mode| Ok(())).map_err(failed)?;
    let epoch = next_epoch();
    let work = conn.unchecked_transaction().map_err(failed)?;
    work.execute(NO_OWNER, params![epoch]).map_err(failed)?;
    work.execute(NO_FIRST, params![epoch]).map_err(failed)?;
    work.execute(NO_NODE, ()).map_err(failed)?;
    work.execute(NO_RELAY, params![epoch]).map_err(failed)?;
    work.commit().map_err(failed)?;
    conn.close().map_err(|(_conn, error)| failed(error))?;
    copy.as_file().sync_all().map_err(folder::unusable)?;
    Ok(copy)
}

/// Tables and their log move together: what is committed may still be in the log alone.
fn put_aside(data: &Path) -> Result<()> {
    let aside = with(data, &format!(".before-restore-{}", now().0));
    std::fs::rename(data, &aside).map_err(folder::unusable)?;
    let log = with(data, "-wal");
    if log.exists() {
        std::fs::rename(log, with(&aside, "-wal")).map_err(folder::unusable)?;
    }
    tracing::info!(file = %aside.display(), "the tables of before were put aside");
    Ok(())
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn removed(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(folder::unusable(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
