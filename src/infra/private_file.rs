//! Files for secrets: readable by their owner alone, and there as a whole or not at all.

use std::fs::File;
use std::io::{Result, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes a secret to a file, in the place of whatever was there.
///
/// # Errors
/// When the folder cannot be written; what was there before is there still.
pub fn replace(path: &Path, secret: &str) -> Result<()> {
    let (folder, file) = written(path, secret)?;
    file.persist(path).map_err(|failed| failed.error)?;
    folder.sync_all()
}

/// Writes a secret to a file that is not there yet.
///
/// # Errors
/// When the folder cannot be written, or something is there; then it is left as it is.
pub fn create(path: &Path, secret: &str) -> Result<()> {
    let (folder, file) = written(path, secret)?;
    file.persist_noclobber(path).map_err(|failed| failed.error)?;
    folder.sync_all()
}

/// The secret on the disk under another name, and the folder, whose new entry has to last as well. The file is made
/// with mode 0600.
fn written(path: &Path, secret: &str) -> Result<(File, NamedTempFile)> {
    let named = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = named.unwrap_or_else(|| Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(secret.as_bytes())?;
    file.as_file().sync_all()?;
    Ok((File::open(folder)?, file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_its_owners_alone_whatever_was_there_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "something longer that anyone may read").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        replace(&path, "mine").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn what_cannot_be_written_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::create_dir(&path).unwrap();
        assert!(replace(&path, "mine").is_err());
        assert!(path.is_dir());
        std::fs::write(folder.path().join("old"), "theirs").unwrap();
        assert!(create(&folder.path().join("old"), "mine").is_err());
        assert_eq!(std::fs::read_to_string(folder.path().join("old")).unwrap(), "theirs");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }
}
