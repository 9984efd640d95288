//! A disk that is really full: a small file system of its own, in a mount namespace that goes with us.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Mounts, says so, and keeps the namespace until our end of the pipe is closed.
const HOLD: &str = r#"mount -t tmpfs -o "size=$2" recado "$1" && echo mounted && exec cat >/dev/null"#;

/// The disk. It is gone when this is dropped and nobody who runs inside is left.
pub(crate) struct SmallDisk {
    holder: Child,
    folder: PathBuf,
}

impl SmallDisk {
    /// Makes one; `None` where mounting is not allowed.
    pub(crate) fn mount(folder: &Path, megabytes: u32) -> Result<Option<Self>> {
        std::fs::create_dir_all(folder)?;
        let mut holder = Command::new("unshare");
        holder.args(["--mount", "--propagation", "private", "sh", "-c", HOLD, "small-disk"]).arg(folder);
        holder
            .arg(format!("{megabytes}m"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut holder = holder.process_group(0).spawn().context("unshare")?;
        let mut told = String::new();
        BufReader::new(holder.stdout.take().context("no pipe")?).read_line(&mut told)?;
        let disk = Self { holder, folder: folder.to_owned() };
        Ok((told.trim() == "mounted").then_some(disk))
    }

    /// How to start a program that sees the disk: the program and its first words.
    pub(crate) fn inside(&self) -> Vec<String> {
        let target = self.holder.id().to_string();
        ["--mount", "--target", &target, "--"].map(str::to_owned).into()
    }

    fn seen(&self, file: &str) -> Result<PathBuf> {
        let path = self.folder.join(file);
        let below = path.strip_prefix("/").context("an absolute path")?;
        Ok(Path::new("/proc").join(self.holder.id().to_string()).join("root").join(below))
    }

    /// Fills it to the last byte.
    pub(crate) fn fill(&self) -> Result<u64> {
        let mut file = std::fs::File::create(self.seen("ballast")?)?;
        let mut written = 0;
        // Smaller and smaller pieces, until not even a byte fits.
        for piece in [64 * 1024, 4096, 1] {
            let bytes = vec![0x5a; piece];
            loop {
                match file.write(&bytes) {
                    Ok(0) => break,
                    Ok(count) => written += count as u64,
                    Err(full) if full.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(other) => return Err(other.into()),
                }
                ensure!(written < 1 << 32, "this disk is not small");
            }
        }
        if written == 0 {
            bail!("nothing fitted");
        }
        Ok(written)
    }

    /// Gives the room back.
    pub(crate) fn make_room(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.seen("ballast")?)?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ended = self.holder.wait();
    }
}
