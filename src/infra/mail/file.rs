//! Mail into a folder: one `.eml` file each, for its owner alone, that any mail program opens.
//!
//! What it promises: a mail is there as a whole or not at all; one that is sent again takes its own place; only the
//! newest [`KEPT`] are kept. They hold tokens in clear: who reads the folder can be anybody.

use std::fs::{DirBuilder, read_dir, remove_file};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use super::letter::{Sender, letter};
use super::{Answer, Mail, Message};
use crate::infra::private_file;

/// How many mails are kept.
const KEPT: usize = 1000;

/// How long writing one may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Drops mails into a folder.
#[derive(Debug)]
pub struct FileDrop {
    folder: PathBuf,
    from: Sender,
    kept: usize,
}

impl FileDrop {
    /// Into this folder, which is made when it is not there.
    #[must_use]
    pub fn new(folder: PathBuf, from: Sender) -> Self {
        Self { folder, from, kept: KEPT }
    }

    /// The same with another number kept.
    #[must_use]
    pub fn keeping(self, kept: usize) -> Self {
        Self { kept: kept.max(1), ..self }
    }
}

#[async_trait]
impl Mail for FileDrop {
    async fn send(&self, message: &Message) -> Answer {
        let letter = match letter(message, &self.from) {
            Ok(letter) => letter,
            Err(why) => return Answer::refused(why),
        };
        let (folder, name, kept) = (self.folder.clone(), format!("{}.eml", message.id), self.kept);
        let work = tokio::task::spawn_blocking(move || drop_into(&folder, &name, &letter.bytes, kept));
        match tokio::time::timeout(WITHIN, work).await {
            Ok(Ok(Ok(()))) => Answer::Sent,
            Ok(Ok(Err(error))) => Answer::unavailable(format!("the mail folder: {}", error.kind())),
            Ok(Err(_panicked)) => Answer::unavailable("the mail folder: writing was broken off"),
            Err(_late) => Answer::unavailable("the mail folder: writing takes too long"),
        }
    }
}

fn drop_into(folder: &Path, name: &str, bytes: &[u8], kept: usize) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
    private_file::replace(&folder.join(name), text)?;
    // Names begin with ids that sort by time.
    let mails = read_dir(folder)?.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        name.ends_with(".eml").then_some(name)
    });
    let mut mails: Vec<String> = mails.collect();
    mails.sort_unstable();
    for old in mails.iter().take(mails.len().saturating_sub(kept)) {
        match remove_file(folder.join(old)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "an old mail cannot be removed");
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
