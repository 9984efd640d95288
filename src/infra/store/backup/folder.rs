//! The folder that backups are kept in.
//!
//! Promises: a file gets a backup's name when it is whole and on the disk, never before; nobody but its owner reads it;
//! only files named like backups are ever removed, oldest first, and the newest never.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::domain::error::{Error, Result};
use crate::domain::time::{Timestamp, now};

/// What backups are called before their time.
const NAME: &str = "recado-backup-";

/// What the files of each kind of tables end in.
const ENDINGS: [&str; 2] = [".db", ".dump"];

/// What an unfinished one ends in.
const PARTIAL: &str = ".partial";

/// After this time an unfinished backup is one whose process died.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes the folder if it is not there.
pub(super) fn prepare(folder: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)
}

/// An empty file that is gone unless it is published.
pub(super) fn partial(folder: &Path) -> Result<NamedTempFile> {
    tempfile::Builder::new().prefix(NAME).suffix(PARTIAL).tempfile_in(folder).map_err(unusable)
}

/// Gives a whole file its name, `recado-backup-{time}{ending}`, once it is on the disk.
pub(super) fn publish(file: NamedTempFile, folder: &Path, at: Timestamp, ending: &str) -> Result<PathBuf> {
    // What another connection wrote is in the same file, whose descriptor this is.
    file.as_file().sync_all().map_err(unusable)?;
    let time: String = at.to_string().chars().filter(|c| !matches!(c, '-' | ':' | '.')).collect();
    let path = folder.join(format!("{NAME}{time}{ending}"));
    file.persist_noclobber(&path).map_err(|refused| unusable(refused.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(unusable)?;
    Ok(path)
}

/// Leaves the newest `keep` backups, and at least one; returns how many went. What dead processes left unfinished goes
/// as well.
///
/// # Errors
/// `Unavailable` when the folder cannot be read or changed.
pub fn prune(folder: &Path, keep: usize) -> Result<usize> {
    let mut backups = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unusable)? {
        let entry = entry.map_err(unusable)?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with(NAME)) else { continue };
        if ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            backups.push(entry.path());
        } else if name.ends_with(PARTIAL) && abandoned(&entry) {
            std::fs::remove_file(entry.path()).map_err(unusable)?;
        }
    }
    // The time is in the name, so that a copied or touched file keeps its place; the kind is not what counts.
    backups.sort_by(|a, b| a.file_stem().cmp(&b.file_stem()));
    let surplus = backups.len().saturating_sub(keep.max(1));
    for old in backups.iter().take(surplus) {
        std::fs::remove_file(old).map_err(unusable)?;
        tracing::info!(file = ?old.file_name().unwrap_or_else(|| OsStr::new("")), "an old backup went");
    }
    Ok(surplus)
}

fn abandoned(entry: &std::fs::DirEntry) -> bool {
    let changed = entry.metadata().ok().and_then(|about| about.modified().ok());
    let age = changed.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let changed = age.and_then(|age| i64::try_from(age.as_millis()).ok()).map(Timestamp);
    changed.is_some_and(|changed| now().since(changed) > ABANDONED)
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
pub(super) fn unusable(error: std::io::Error) -> Error {
    Error::unavailable("backup_folder_unusable", format!("the backup's file or folder: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_backup_has_its_name_only_when_it_is_whole_and_is_its_owners_alone() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("a/b");
        prepare(&folder).unwrap();
        prepare(&folder).unwrap();
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        drop(partial(&folder).unwrap());
        assert!(names(&folder).is_empty(), "what is given up leaves nothing");
        let mut file = partial(&folder).unwrap();
        file.write_all(b"rows").unwrap();
        let at = Timestamp(1_792_983_600_123);
        let path = publish(file, &folder, at, ".db").unwrap();
        assert_eq!(path.file_name().unwrap(), "recado-backup-20261026T030000123Z.db");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let second = partial(&folder).unwrap();
        assert!(publish(second, &folder, at, ".db").is_err(), "a backup is never written over");
        assert_eq!(std::fs::read(&path).unwrap(), b"rows");
        assert_eq!(names(&folder).len(), 1);
    }

    #[test]
    fn the_oldest_go_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let days = ["20260101T0", "20260102T0", "20260103T0", "20260104T0"];
        for (day, ending) in days.iter().zip([".db", ".dump", ".db", ".dump"]) {
            std::fs::write(folder.path().join(format!("{NAME}{day}{ending}")), "x").unwrap();
        }
        let others = ["notes.db", "recado-backup-20250101T0.txt", "recado.db", "recado-backup-1.partial"];
        for other in others {
            std::fs::write(folder.path().join(other), "x").unwrap();
        }
        assert_eq!(prune(folder.path(), 2).unwrap(), 2);
        let left = names(folder.path());
        assert_eq!(left.len(), 2 + others.len(), "{left:?}");
        assert!(left.iter().any(|name| name.contains("20260103")), "{left:?}");
        assert!(left.iter().any(|name| name.contains("20260104")), "{left:?}");
        assert_eq!(prune(folder.path(), 0).unwrap(), 1, "the newest stays whatever is asked for");
        assert!(names(folder.path()).iter().any(|name| name.contains("20260104")));
    }
}
