//! A backup of the tables in Postgres, by our own means: one transaction that only reads, every table copied out.
//!
//! Promises: the state of one moment, whatever is committed meanwhile; writers are not held up; the file needs no tool
//! but this program to be restored. The tables are found in the server's catalogue, so a new one cannot be forgotten.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::mpsc::{Sender, channel};

use super::catalogue::{self, quoted};
use super::dump::{self, Header, Item, Table};
use super::{Backups, Written, folder};
use crate::domain::error::{Error, Result};
use crate::domain::time::now;

/// How long a backup or a restore may take.
pub(super) const WITHIN: Duration = Duration::from_secs(6 * 60 * 60);

/// How long the server may take to answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// What a backup's name ends in.
const ENDING: &str = ".dump";

/// Pieces on their way to the disk.
const DEPTH: usize = 16;

/// A copy may take as long as it takes: the whole has its deadline. It is of all tenants.
const PATIENT: &str = "set statement_timeout = 0; set idle_in_transaction_session_timeout = '10min'; \
    set recado.tenant = '*'";
const BEGIN: &str = "begin isolation level repeatable read read only";
const END: &str = "commit";

/// The tables behind a connection.
pub struct PostgresBackups {
    options: PgConnectOptions,
}

impl PostgresBackups {
    /// Of the tables in the first schema of the search path of a connection to `url`.
    ///
    /// # Errors
    /// `Invalid` for what is no address; the address is not shown.
    pub fn at(url: &str) -> Result<Self> {
        options(url).map(|options| Self { options })
    }
}

#[async_trait]
impl Backups for PostgresBackups {
    async fn backup(&self, into: &Path) -> Result<Written> {
        folder::prepare(into)?;
        let at = now();
        let mut conn = connect(&self.options).await?;
        let file = folder::partial(into)?;
        let (items, waiting) = channel(DEPTH);
        let writing = tokio::task::spawn_blocking(move || dump::write(file, waiting));
        let late = |_elapsed| Error::unavailable("backup_late", "the backup was not done in time");
        let copied = tokio::time::timeout(WITHIN, copy_all(&mut conn, items)).await.map_err(late).flatten();
        // The writer has heard the end, or that there is none: it is done or gives up.
        let file = writing.await.map_err(|panicked| Error::bug(format!("the backup: {panicked}")))?;
        copied?;
        let (file, into) = (file?, into.to_owned());
        conn.close().await.map_err(failed)?;
        let finish = tokio::task::spawn_blocking(move || {
            file.as_file().sync_all().map_err(folder::unusable)?;
            let contents = dump::read(file.path(), |_item| Ok(()))?;
            let bytes = file.as_file().metadata().map_err(folder::unusable)?.len();
            let file = folder::publish(file, &into, at, ENDING)?;
            Ok(Written { file, bytes, contents })
        });
        finish.await.map_err(|panicked| Error::bug(format!("the backup: {panicked}")))?
    }
}

/// Reads an address.
pub(super) fn options(url: &str) -> Result<PgConnectOptions> {
    let refuse = || Error::invalid("DATABASE_URL", "invalid_url", "is no address of a Postgres");
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(refuse());
    }
    url.parse().map_err(|_may_show_it| refuse())
}

/// A connection of its own.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection> {
    let late = |_elapsed| Error::unavailable("store_unavailable", "the server does not answer");
    let options = options.clone().disable_statement_logging();
    let mut conn =
        tokio::time::timeout(CONNECT_WITHIN, options.connect()).await.map_err(late)?.map_err(failed)?;
    catalogue::run(&mut conn, PATIENT).await?;
    Ok(conn)
}

async fn copy_all(conn: &mut PgConnection, items: Sender<Item>) -> Result<()> {
    catalogue::run(conn, BEGIN).await?;
    let header = Header {
        recado: env!("CARGO_PKG_VERSION").to_owned(),
        migration: catalogue::migration(conn).await?,
        parts: catalogue::parts(conn).await?,
        sequences: catalogue::sequences(conn).await?,
    };
    send(&items, Item::Header(header)).await?;
    for table in catalogue::tables(conn).await? {
        copy(conn, table, &items).await?;
    }
    catalogue::run(conn, END).await?;
    send(&items, Item::End).await
}

async fn copy(conn: &mut PgConnection, table: Table, items: &Sender<Item>) -> Result<()> {
    let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
    let statement = format!("copy (select {} from {}) to stdout", columns.join(", "), quoted(&table.name));
    send(items, Item::Table(table)).await?;
    let mut rows = conn.copy_out_raw(&statement).await.map_err(failed)?;
    let mut gathered = Vec::new();
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        gathered.extend_from_slice(&row);
        if gathered.len() >= 128 * 1024 {
            for piece in dump::pieces(&std::mem::take(&mut gathered)) {
                send(items, piece).await?;
            }
        }
    }
    for piece in dump::pieces(&gathered) {
        send(items, piece).await?;
    }
    send(items, Item::Done).await
}

async fn send(items: &Sender<Item>, item: Item) -> Result<()> {
    items
        .send(item)
        .await
        .map_err(|_gone| Error::unavailable("backup_failed", "the disk does not take the backup"))
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
pub(super) fn failed(error: sqlx::Error) -> Error {
    Error::unavailable("backup_failed", error.to_string())
}
