//! The one connection that writes, on a thread of its own.
//!
//! Promises: batches are committed one after the other, in the order they were handed over; a failed one leaves nothing
//! behind, because its connection is thrown away with it and SQLite rolls back; an abandoned one is committed or not,
//! as a whole.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::{self, Checkpoints};
use super::statement::{self, failed};
use super::{Answers, BUSY, PRAGMAS, commit};
use crate::domain::error::{Error, Result};
use crate::domain::time::now;
use crate::domain::write::Write;

/// How many batches may wait; the Ledger hands over one at a time.
const DEPTH: usize = 16;

/// How many statements stay prepared: more than there are.
const STATEMENTS: usize = 192;

const PROBE: &str =
    "insert into probes (id, at) values (1, ?) on conflict (id) do update set at = excluded.at";

enum Job {
    Commit(Arc<[Write]>, oneshot::Sender<Result<Answers>>),
    Probe(oneshot::Sender<Result<()>>),
    Close(oneshot::Sender<()>),
}

/// The way to the thread, which ends when this goes.
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
}

impl Writer {
    /// Opens the connection and starts the thread.
    pub(super) fn start(path: &Path) -> Result<Self> {
        let checkpoints = Checkpoints::start(path)?;
        let connection = Slot { conn: Some(open(path)?), path: path.to_owned(), checkpoints };
        let (jobs, waiting) = mpsc::channel(DEPTH);
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        thread.spawn(move || connection.work(waiting)).map_err(|error| {
            Error::unavailable("store_unavailable", format!("the store's thread does not start: {error}"))
        })?;
        Ok(Self { jobs })
    }

    /// Applies a batch in one transaction.
    pub(super) async fn commit(&self, batch: Arc<[Write]>) -> Result<Answers> {
        let (reply, answer) = oneshot::channel();
        self.hand_over(Job::Commit(batch, reply)).await?;
        answer.await.map_err(|_dropped| closed())?
    }

    /// Writes something for the sake of it.
    pub(super) async fn probe(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.hand_over(Job::Probe(reply)).await?;
        answer.await.map_err(|_dropped| closed())?
    }

    /// Closes the connection after what was handed over before, for good.
    pub(super) async fn close(&self) {
        let (reply, done) = oneshot::channel();
        if self.hand_over(Job::Close(reply)).await.is_err() || done.await.is_err() {
            tracing::debug!("the writer was closed already");
        }
    }

    async fn hand_over(&self, job: Job) -> Result<()> {
        self.jobs.send(job).await.map_err(|_closed| closed())
    }
}

fn closed() -> Error {
    Error::unavailable("store_closed", "the store is closed")
}

/// A connection that may write.
pub(super) fn open(path: &Path) -> Result<Connection> {
    let conn = Connection::open(path).map_err(failed)?;
    conn.busy_timeout(BUSY).map_err(failed)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // One plan per statement, whatever is bound: otherwise some are planned anew for every row.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(failed)?;
    for (name, value) in PRAGMAS {
        // Some of them answer with a row.
        conn.pragma_update_and_check(None, name, value, |_row| Ok(())).or_else(silent).map_err(failed)?;
    }
    Ok(conn)
}

fn silent(error: rusqlite::Error) -> rusqlite::Result<()> {
    if matches!(error, rusqlite::Error::QueryReturnedNoRows) { Ok(()) } else { Err(error) }
}

/// The connection; none between a failed transaction and the next one, which opens a new one.
struct Slot {
    conn: Option<Connection>,
    path: PathBuf,
    checkpoints: Checkpoints,
}

impl Slot {
    fn work(mut self, mut waiting: mpsc::Receiver<Job>) {
        while let Some(job) = waiting.blocking_recv() {
            // Nobody waits for an answer any more: it is committed or not, and either is right.
            let heard = match job {
                Job::Commit(batch, reply) => {
                    reply.send(self.transaction(|conn| commit::apply(conn, &batch))).is_ok()
                }
                Job::Probe(reply) => reply.send(self.transaction(probe)).is_ok(),
                Job::Close(reply) => {
                    self.close();
                    drop(waiting);
                    // Whoever asked may have gone; it is closed all the same.
                    let _heard = reply.send(());
                    return;
                }
            };
            if !heard {
                tracing::debug!("a transaction ended for a caller that had gone");
            }
            if let (Some(conn), true) = (&self.conn, self.checkpoints.due()) {
                checkpoint::pass(conn);
            }
        }
    }

    /// The connection is put back only after the commit: a failure or a panic on the way closes it, which rolls back.
    fn transaction<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => open(&self.path)?,
        };
        let whole = || {
            statement::execute(&conn, "begin immediate", |_none| ())?;
            let answer = work(&conn)?;
            statement::execute(&conn, "commit", |_none| ())?;
            Ok(answer)
        };
        let answer = catch_unwind(AssertUnwindSafe(whole))
            .unwrap_or_else(|_panic| Err(Error::bug("a transaction panicked")))?;
        self.conn = Some(conn);
        self.checkpoints.written();
        Ok(answer)
    }

    fn close(mut self) {
        // First, so that the connection is the last one, which tidies up.
        drop(self.checkpoints);
        if let Some(conn) = self.conn.take() {
            conn.flush_prepared_statement_cache();
            if let Err((_conn, error)) = conn.close() {
                tracing::warn!(%error, "the store did not close cleanly; its log is replayed at the next open");
            }
        }
    }
}

fn probe(conn: &Connection) -> Result<()> {
    statement::execute(conn, PROBE, |cells| {
        cells.int(now().0);
    })
    .map(drop)
}
