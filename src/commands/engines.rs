//! Which tables and streams a configuration names, and how they are opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;

use crate::config::Config;
use crate::domain::error::{Error, Kind};
use crate::domain::retry::Schedule;
use crate::domain::write::{Outcome, Write};
use crate::http;
use crate::infra::limits::redis::RedisLimits;
use crate::infra::limits::{self, Limits};
use crate::infra::store::Store;
use crate::infra::store::backup::{Backups, PostgresBackups, SqliteBackups};
use crate::infra::store::postgres::{self, PostgresStore};
use crate::infra::store::sqlite::SqliteStore;
use crate::infra::stream::Stream;
use crate::infra::stream::hints::{Alone, Hints};
use crate::infra::stream::intake::Intake;
use crate::infra::stream::memory::{self, MemoryStream};
use crate::infra::stream::redis::{self, RedisStream};
use crate::infra::vault::Vault;

/// Opens the tables and brings them up to date.
///
/// # Errors
/// When the folder is in use, or the tables cannot be read or belong to another number of shards.
pub(super) async fn open_store(config: &Config) -> Result<Arc<dyn Store>> {
    let store = tables(config).await.context("the store does not open")?;
    let asked = config.shards.to_string();
    let mut answers = store.commit([Write::Settle("shards", asked.clone())].into()).await?;
    match answers.pop() {
        Some(Ok(Outcome::Settled(settled))) if settled == asked => Ok(store),
        Some(Ok(Outcome::Settled(settled))) => {
            bail!("RECADO_SHARDS must stay {settled}: the tables were made for that many")
        }
        Some(Err(error)) => Err(error.into()),
        Some(Ok(_)) | None => bail!("the number of shards was not answered"),
    }
}

/// The file of the embedded tables.
pub(super) fn data_file(config: &Config) -> PathBuf {
    config.data_dir.join("recado.db")
}

/// What a backup is taken of.
///
/// # Errors
/// When the address of the tables cannot be one.
pub(super) fn backups(config: &Config) -> Result<Arc<dyn Backups>> {
    Ok(match &config.database {
        Some(url) => Arc::new(PostgresBackups::at(&url.0)?),
        None => Arc::new(SqliteBackups::of(&data_file(config))),
    })
}

async fn tables(config: &Config) -> Result<Arc<dyn Store>> {
    if let Some(url) = &config.database {
        let connections = usize::try_from(config.database_pool)?;
        let settings = postgres::Settings {
            max_connections: connections,
            keep_events: config.retention,
            keep_messages: config.retention,
            ..postgres::Settings::default()
        };
        return Ok(Arc::new(PostgresStore::open(&url.0, settings).await?));
    }
    std::fs::create_dir_all(&config.data_dir).context("the data folder cannot be made")?;
    Ok(Arc::new(SqliteStore::open(&data_file(config)).await?))
}

/// The same, but a server that is not there is waited for. Meanwhile `socket` answers that the process lives and why it
/// is not ready.
///
/// # Errors
/// What waiting cannot mend.
pub(super) async fn open_store_patiently(
    config: &Config,
    socket: &std::net::TcpListener,
) -> Result<Arc<dyn Store>> {
    let first = match open_store(config).await {
        Err(error) if config.database.is_some() && is_away(&error) => error,
        other => return other,
    };
    tracing::warn!(error = format!("{first:#}"), "the tables are not there yet; waiting for them");
    let reason = Arc::new(ArcSwap::from_pointee(format!("{first:#}")));
    let listener = tokio::net::TcpListener::from_std(socket.try_clone()?)?;
    let schedule = Schedule::exponential(Duration::from_millis(250), Duration::from_secs(5));
    let opened = async {
        let mut tries = 0;
        loop {
            tokio::time::sleep(schedule.delay(tries)).await;
            match open_store(config).await {
                Err(error) if is_away(&error) => reason.store(Arc::new(format!("{error:#}"))),
                other => return other,
            }
            tries = tries.saturating_add(1);
        }
    };
    tokio::select! {
        opened = opened => opened,
        () = http::wait_visibly(listener, reason.clone()) => bail!("the listener ended"),
    }
}

/// Whether time may mend it.
fn is_away(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Error>().is_some_and(|error| error.kind == Kind::Unavailable)
}

/// Where requests are counted: in Redis for all nodes, where there is one.
///
/// # Errors
/// When the address cannot be one.
pub(super) fn open_limits(config: &Config, vault: &Vault) -> Result<Option<Arc<dyn Limits>>> {
    let Some(url) = &config.redis else { return Ok(None) };
    let key = vault.key_for("recado limits v1")?;
    Ok(Some(Arc::new(RedisLimits::open(&url.0, &key, limits::redis::Settings::default())?)))
}

/// Everything that travels beside the tables.
pub(super) struct Streams {
    /// The logs.
    pub(super) stream: Arc<dyn Stream>,
    /// Wake-ups between nodes.
    pub(super) hints: Arc<dyn Hints>,
    /// Commands of programs outside.
    pub(super) intake: Option<Arc<dyn Intake>>,
}

/// The streams of this node. They need not be there: whoever needs them tries on.
///
/// # Errors
/// When the address or a name cannot be one.
pub(super) fn open_streams(config: &Config, node: &str) -> Result<Streams> {
    let Some(url) = &config.redis else {
        let stream = Arc::new(MemoryStream::new(memory::Limits::default()));
        return Ok(Streams { stream, hints: Arc::new(Alone), intake: None });
    };
    let settings = redis::Settings {
        shards: config.shards,
        events: config.events.stream.clone(),
        dead_letters: config.events.dlq_stream.clone(),
        group: config.events.group.clone(),
        consumer: format!("{}:{node}", config.events.consumer),
        ..redis::Settings::default()
    };
    let stream = Arc::new(RedisStream::open(&url.0, settings)?);
    Ok(Streams { stream: stream.clone(), hints: stream.clone(), intake: Some(stream) })
}
