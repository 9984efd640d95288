//! Moves what is committed from SQLite's log into its file, beside the writer instead of within its commits.
//!
//! Promises: commits do not wait for it. The log begins anew only when a commit finds all of it moved, which never is so
//! while commits follow each other: when it has grown, the writer is [told](Checkpoints::due) to move the little that
//! came last, between two commits. What all this misses the writer does itself once the log is very long.

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

/// How long commits gather: a page written again meanwhile is moved once. Longer, and the disk is busy with what has
/// gathered for so long at once that commits feel it.
const PACE: Duration = Duration::from_millis(100);

/// In pages. A longer log is to begin anew.
const LONG: i64 = 8_000;

/// What the thread and the writer tell each other.
#[derive(Default)]
struct Told {
    /// There is something to move.
    written: AtomicBool,
    /// Almost nothing is left to move, of a long log.
    due: AtomicBool,
}

/// The thread that moves pages; it ends with this.
pub(super) struct Checkpoints {
    told: Arc<Told>,
    alive: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// Opens its connection and starts.
    pub(super) fn start(path: &Path) -> Result<Self> {
        let conn = open(path)?;
        let told = Arc::new(Told::default());
        let (alive, ended) = channel();
        let thread = std::thread::Builder::new().name("store-checkpoint".to_owned());
        let seen = Arc::clone(&told);
        let thread = thread.spawn(move || work(&conn, &seen, &ended)).map_err(|error| {
            Error::unavailable("store_unavailable", format!("the store's thread does not start: {error}"))
        })?;
        Ok(Self { told, alive: Some(alive), thread: Some(thread) })
    }

    /// There is something to move.
    pub(super) fn written(&self) {
        self.told.written.store(true, Ordering::Release);
    }

    /// Whether the writer should [`pass`] now; said once.
    pub(super) fn due(&self) -> bool {
        self.told.due.load(Ordering::Acquire) && self.told.due.swap(false, Ordering::AcqRel)
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

fn work(conn: &Connection, told: &Told, ended: &Receiver<()>) {
    while ended.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
        if !told.written.swap(false, Ordering::AcqRel) || pass(conn) < LONG {
            continue;
        }
        // What came during the first pass: the second is short, and leaves less.
        pass(conn);
        told.due.store(true, Ordering::Release);
    }
}

/// Moves what it can without making anybody wait; how many pages the log has.
pub(super) fn pass(conn: &Connection) -> i64 {
    let log = conn.query_row("pragma wal_checkpoint(passive)", (), |counts| counts.get(1)).map_err(failed);
    log.unwrap_or_else(|error| {
        tracing::debug!(%error, "pages were not moved; the writer will");
        0
    })
}
