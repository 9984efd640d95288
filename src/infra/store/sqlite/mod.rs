//! SQLite behind the [`Store`] port: the embedded default.
//!
//! Promises what the port promises, and: a committed write survives a power cut (WAL with `synchronous=FULL`); one data
//! file is open once; a failed commit leaves nothing behind.
//!
//! One connection writes, on a thread of its own ([`writer`]); a few read. A batch is taken apart by kind, and each kind is
//! read, judged and written as a whole, in [`commit`].

mod checkpoint;
mod commit;
mod migrations;
mod people;
mod read;
mod sql;
mod statement;
mod writer;

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection};

use super::{Answers, Store};
use crate::domain::cluster::Cluster;
use crate::domain::error::{Error, Result};
use crate::domain::event::{Entry, Event, Log};
use crate::domain::ids::{MessageId, Position, SessionId, Shard, TenantId, WaId};
use crate::domain::pacing::History;
use crate::domain::time::Timestamp;
use crate::domain::view::{
    ChatView, DeadLetterView, EventFilter, GroupState, LogHead, MessageView, Page, PageRequest, Redriving,
    SessionView, Transition,
};
use crate::domain::write::Write;
pub(super) use migrations::newest;
use sql::failed;
use writer::Writer;

/// How many queries run at a time.
const READERS: u32 = 4;

/// How long a statement waits for another process, say a backup, that holds the file.
const BUSY: Duration = Duration::from_secs(5);

/// How long a query waits for one of the readers.
const READER_WAIT: Duration = Duration::from_secs(5);

/// The tables in one SQLite file.
pub struct SqliteStore {
    writer: Writer,
    readers: SqlitePool,
    /// Held until the store is closed: the same file cannot be opened twice.
    lock: Mutex<Option<File>>,
}

impl SqliteStore {
    /// Opens or creates the file at `path` and brings its tables to the newest version.
    ///
    /// # Errors
    /// `Conflict` (`data_folder_in_use`) when another store has the file open; `Unavailable` when it cannot be opened.
    pub async fn open(path: &Path) -> Result<Self> {
        let lock = lock(path)?;
        let options = options(path);
        let mut first = options.connect().await.map_err(failed)?;
        migrations::forward(&mut first).await?;
        let writer = Writer::start(path)?;
        first.close().await.map_err(failed)?;
        let reading = options.pragma("query_only", "on").pragma("cache_size", "-8000");
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(1)
            .acquire_timeout(READER_WAIT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(reading)
            .await
            .map_err(failed)?;
        Ok(Self { writer, readers, lock: Mutex::new(Some(lock)) })
    }

    /// Takes the tables of the file at `path` back to `version`; 0 removes them all.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub async fn revert(path: &Path, version: i64) -> Result<()> {
        let _lock = lock(path)?;
        let mut conn = options(path).connect().await.map_err(failed)?;
        migrations::back(&mut conn, version).await?;
        conn.close().await.map_err(failed)
    }
}

/// What every connection is set to.
const PRAGMAS: [(&str, &str); 8] = [
    ("journal_mode", "wal"),
    ("synchronous", "full"),
    ("foreign_keys", "on"),
    ("cache_size", "-64000"),
    ("mmap_size", "268435456"),
    ("temp_store", "memory"),
    // In pages, for when [`checkpoint`] does not keep up. The log's file keeps that size: growing again costs more than
    // writing over it.
    ("wal_autocheckpoint", "32000"),
    ("journal_size_limit", "160000000"),
];

fn options(path: &Path) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .busy_timeout(BUSY)
        .statement_cache_capacity(512)
        .row_buffer_size(1024)
        .disable_statement_logging();
    PRAGMAS.into_iter().fold(options, |options, (name, value)| options.pragma(name, value))
}

/// Takes the file for this store alone. The lock goes with the process, however it ends.
pub(super) fn lock(path: &Path) -> Result<File> {
    let unusable =
        |error: std::io::Error| Error::unavailable("data_folder_unusable", format!("the data file: {error}"));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(unusable)?;
    }
    private(path).map_err(unusable)?;
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = private(&PathBuf::from(name)).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(Error::conflict("data_folder_in_use", "another process has this data file open"))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// Opens a file, made if need be, that only its owner may read.
fn private(path: &Path) -> std::io::Result<File> {
    let mut open = OpenOptions::new();
    open.create(true).truncate(false).write(true).read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
    open.open(path)
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, batch: Arc<[Write]>) -> Result<Answers> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.writer.commit(batch).await
    }

    async fn session(&self, tenant: TenantId, session: SessionId) -> Result<Option<SessionView>> {
        let found = read::sessions::one(&self.readers, session).await?;
        Ok(found.filter(|view| view.tenant_id == tenant))
    }

    async fn owned_session(&self, session: SessionId) -> Result<Option<SessionView>> {
        read::sessions::one(&self.readers, session).await
    }

    async fn sessions(&self, tenant: TenantId, page: PageRequest) -> Result<Page<SessionView>> {
        read::sessions::list(&self.readers, tenant, &page).await
    }

    async fn sessions_behind(&self, shard: Shard, before: Timestamp, limit: usize) -> Result<Vec<SessionId>> {
        read::sessions::behind(&self.readers, shard, before, limit).await
    }

    async fn sessions_to_run(
        &self,
        shard: Shard,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionId>> {
        read::sessions::to_run(&self.readers, shard, after, limit).await
    }

    async fn timeline(&self, tenant: TenantId, session: SessionId) -> Result<Vec<Transition>> {
        read::sessions::timeline(&self.readers, tenant, session).await
    }

    async fn message(&self, tenant: TenantId, message: MessageId) -> Result<Option<MessageView>> {
        read::messages::one(&self.readers, tenant, message).await
    }

    async fn pacing(&self, tenant: TenantId, session: SessionId) -> Result<Option<History>> {
        read::pacing::history(&self.readers, tenant, session).await
    }

    async fn begins_chat(&self, tenant: TenantId, message: MessageId) -> Result<bool> {
        read::pacing::begins_chat(&self.readers, tenant, message).await
    }

    async fn has_message(&self, tenant: TenantId, session: SessionId, id: &WaId) -> Result<bool> {
        read::messages::has(&self.readers, (tenant, session), id).await
    }

    async fn messages(
        &self,
        tenant: TenantId,
        session: Option<SessionId>,
        chat: &str,
        page: PageRequest,
    ) -> Result<Page<MessageView>> {
        read::messages::list(&self.readers, (tenant, session), chat, &page).await
    }

    async fn chats(
        &self,
        tenant: TenantId,
        session: Option<SessionId>,
        page: PageRequest,
    ) -> Result<Page<ChatView>> {
        read::chats::list(&self.readers, tenant, session, &page).await
    }

    async fn events(
        &self,
        shard: Shard,
        filter: &EventFilter,
        after: Position,
        limit: usize,
    ) -> Result<(Vec<Event>, Position)> {
        read::events::filtered(&self.readers, shard, filter, (after, limit)).await
    }

    async fn log_after(&self, shard: Shard, log: Log, after: Position, limit: usize) -> Result<Vec<Entry>> {
        read::events::after(&self.readers, (shard, log), after, limit).await
    }

    async fn head(&self, shard: Shard, log: Log) -> Result<LogHead> {
        read::events::head(&self.readers, shard, log).await
    }

    async fn group(&self, shard: Shard, log: Log, group: &str) -> Result<GroupState> {
        read::groups::state(&self.readers, shard, log, group).await
    }

    async fn redriving(&self, shard: Shard, log: Log, group: &str, limit: usize) -> Result<Vec<Redriving>> {
        read::groups::redriving(&self.readers, (shard, log), group, limit).await
    }

    async fn dead_letters(
        &self,
        tenant: TenantId,
        state: Option<&str>,
        page: PageRequest,
    ) -> Result<Page<DeadLetterView>> {
        read::groups::dead_letters(&self.readers, tenant, state, &page).await
    }

    async fn creds(&self, session: SessionId) -> Result<Option<Vec<u8>>> {
        read::auth::creds(&self.readers, session).await
    }

    async fn auth(&self, session: SessionId, kind: &str, key: &str) -> Result<Option<(Vec<u8>, i64)>> {
        read::auth::one(&self.readers, session, kind, key).await
    }

    async fn auth_many(
        &self,
        session: SessionId,
        kind: &str,
        keys: &[String],
    ) -> Result<Vec<(String, Vec<u8>, i64)>> {
        read::auth::many(&self.readers, session, kind, keys).await
    }

    async fn auth_prefix(
        &self,
        session: SessionId,
        kind: &str,
        prefix: &str,
    ) -> Result<Vec<(String, Vec<u8>, i64)>> {
        read::auth::prefix(&self.readers, session, kind, prefix).await
    }

    async fn probe(&self) -> Result<()> {
        self.writer.probe().await?;
        sql::rows(&self.readers, "select at from probes where id = 1", |_none| ()).await.map(drop)
    }

    async fn cluster(&self) -> Result<Cluster> {
        read::cluster::cluster(&self.readers).await
    }

    /// What is committed is moved from the log into the file.
    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        // Whoever still holds the store finds it closed for good: nothing is written behind the back of the next one.
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
