//! Files of the data folder. PROMISES: a file is either the old one or the new one, never half of each, and only its
//! owner can read it.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Result, SandboxError};

/// Reads a JSON file; `None` when there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(SandboxError::io("reading the data folder", e)),
    };
    serde_json::from_reader(BufReader::new(file))
        .map(Some)
        .map_err(|e| SandboxError::io("a file of the data folder is damaged", e))
}

/// Replaces a JSON file in one step.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let failed = |e: std::io::Error| SandboxError::io("writing the data folder", e);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(failed)?;
    }
    let fresh = path.with_extension("new");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(failed)?;
    let mut out = BufWriter::new(file);
    serde_json::to_writer(&mut out, value).map_err(|e| SandboxError::io("writing the data folder", e))?;
    out.flush().map_err(failed)?;
    out.get_ref().sync_all().map_err(failed)?;
    fs::rename(&fresh, path).map_err(failed)
}
