//! Moves what is committed from SQLite's log into its file, beside the writer instead of within its commits.
//!
//! Promises: commits do not wait for it; what it misses or fails to do the writer does itself once the log is long.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::statement::failed;
use super::writer::open;
use crate::domain::error::{Error, Result};

/// How long commits gather: a page written again meanwhile is moved once.
const PACE: Duration = Duration::from_millis(500);

/// The thread that moves pages; it ends with this.
pub(super) struct Checkpoints {
    written: Arc<AtomicBool>,
    alive: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// Opens its connection and starts.
    pub(super) fn start(path: &Path) -> Result<Self> {
        let conn = open(path)?;
        let written = Arc::new(AtomicBool::new(false));
        let (alive, ended) = channel();
        let thread = std::thread::Builder::new().name("store-checkpoint".to_owned());
        let seen = Arc::clone(&written);
        let thread = thread.spawn(move || work(&conn, &seen, &ended)).map_err(|error| {
            Error::unavailable("store_unavailable", format!("the store's thread does not start: {error}"))
        })?;
        Ok(Self { written, alive: Some(alive), thread: Some(thread) })
    }

    /// There is something to move.
    pub(super) fn written(&self) {
        self.written.store(true, Ordering::Release);
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.alive.take();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::warn!("the thread that moves pages had panicked");
        }
    }
}

fn work(conn: &Connection, written: &AtomicBool, ended: &Receiver<()>) {
    while ended.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
        if !written.swap(false, Ordering::AcqRel) {
            continue;
        }
        let moved = conn.query_row("pragma wal_checkpoint(passive)", (), |_counts| Ok(())).map_err(failed);
        if let Err(error) = moved {
            tracing::debug!(%error, "pages were not moved; the writer will");
        }
    }
}
