//! The whole service as one value: put together, started, stopped. Used by `serve`, by `demo` and by tests.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;

use super::first_key::FirstKey;
use crate::actors::archive::Queries;
use crate::actors::consumer::{self, Consumers};
use crate::actors::directory::Directory;
use crate::actors::hub::{self, Hub};
use crate::actors::ledger::Ledgers;
use crate::actors::pulse::Pulse;
use crate::actors::relay::Relays;
use crate::actors::session::Setup;
use crate::actors::tree::{self, Group, Parts, Tree};
use crate::config::Config;
use crate::domain::ids::{Shard, TenantId};
use crate::domain::retry::Schedule;
use crate::domain::write::{AuthWrite, Write};
use crate::http::{self, Api};
use crate::infra::gateway::web::{AuthWriter, WebConfig, WebGateway, trust};
use crate::infra::store::sqlite::SqliteStore;
use crate::infra::stream::memory::{Limits, MemoryStream};
use crate::infra::vault::Vault;
use crate::telemetry;

/// The most queries at once.
const QUERIES: usize = 1024;

/// How long an idempotency key is remembered.
const KEYS_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The name of the only process that may own an embedded store: it may take over its own leases after a crash, since
/// the store's lock proves that no other process runs.
const EMBEDDED_NODE: &str = "embedded";

/// A running service.
pub struct Service {
    tree: Tree,
    api: Arc<Api>,
    store: Arc<SqliteStore>,
    first_key: FirstKey,
    url: String,
    stop_within: Duration,
}

/// The engine's credentials go through the one writer like everything else.
struct Credentials(Ledgers);

#[async_trait]
impl AuthWriter for Credentials {
    async fn write(&self, write: AuthWrite) -> crate::domain::Result<()> {
        self.0.write_patiently(Write::Auth(write)).await.map(|_done| ())
    }
}

/// Opens the tables of a data folder and brings them up to date.
///
/// # Errors
/// When the folder is in use, or the tables cannot be read.
pub async fn open_store(config: &Config) -> Result<Arc<SqliteStore>> {
    std::fs::create_dir_all(&config.data_dir).context("the data folder cannot be made")?;
    let store =
        SqliteStore::open(&config.data_dir.join("recado.db")).await.context("the store does not open")?;
    Ok(Arc::new(store))
}

/// The key for credentials at rest: from the configuration, or from a 0600 file made at first start.
///
/// # Errors
/// When the key is malformed, or missing in production.
pub fn open_vault(config: &Config) -> Result<Vault> {
    match &config.encryption_key {
        Some(key) => Ok(Vault::new(&key.0)),
        None => Ok(Vault::load_or_create(&config.data_dir.join("encryption.key"))?),
    }
}

impl Service {
    /// Starts everything; `groups` are consumer groups beside the built-in ones.
    ///
    /// # Errors
    /// When something does not start; nothing is left running then.
    pub async fn start(config: Config, groups: Vec<Group>) -> Result<Self> {
        install_crypto();
        trust::boot_check().context("the engine's certificate check")?;
        let store = open_store(&config).await?;
        let socket = std::net::TcpListener::bind(config.listen).context("the port cannot be opened")?;
        socket.set_nonblocking(true)?;
        let url = format!("http://{}", socket.local_addr()?);
        let parts = parts(&config, store.clone(), groups, &url)?;
        telemetry::start_metrics();
        let pulse = Pulse::new(parts.ledgers.clone(), parts.queries.clone(), parts.directory.clone());
        let api = api(&config, &parts, pulse.clone());
        let tree = tree::start(parts, vec![http::actor::child(Arc::new(socket), api.clone())]).await?;
        pulse.watch(tree.root());
        let first_key = FirstKey::in_folder(&config.data_dir);
        Ok(Self { tree, api, store, first_key, url, stop_within: config.stop })
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The first API key, as long as nobody was told of it: [`Service::first_key_told`] says that somebody was.
    ///
    /// # Errors
    /// When the store or the data folder does not answer.
    pub async fn first_key(&self) -> Result<Option<String>> {
        self.first_key.to_tell(&self.api.ledgers, &self.api.queries).await
    }

    /// Somebody knows the first API key now.
    ///
    /// # Errors
    /// When the data folder does not answer.
    pub fn first_key_told(&self) -> Result<()> {
        self.first_key.told()
    }

    /// A new API key.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn new_key(&self) -> Result<String> {
        self.new_key_of(TenantId::DEFAULT).await
    }

    /// A new API key of any tenant.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn new_key_of(&self, tenant: TenantId) -> Result<String> {
        let key = http::new_key();
        http::store_key(&self.api.ledgers, tenant, "rig", &key).await?;
        Ok(key)
    }

    /// Returns when the tree has failed.
    pub async fn failed(&mut self) {
        self.tree.failed().await;
    }

    /// Stops in order; true when everything ended within the deadline.
    pub async fn stop(self) -> bool {
        let stopped = self.tree.stop(self.stop_within).await;
        self.store.close().await;
        stopped
    }
}

/// The one TLS provider of the process; a second call changes nothing.
pub fn install_crypto() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider is installed already");
    }
}

fn api(config: &Config, parts: &Parts, health: Arc<Pulse>) -> Arc<Api> {
    let actors = http::Actors {
        ledgers: parts.ledgers.clone(),
        queries: parts.queries.clone(),
        hub: parts.hub.clone(),
        directory: parts.directory.clone(),
        health,
    };
    Api::new(actors, config.http())
}

fn parts(config: &Config, store: Arc<SqliteStore>, groups: Vec<Group>, url: &str) -> Result<Parts> {
    let ledgers = Ledgers::new(config.ledger_depth);
    let directory = Directory::new(config.shards);
    let known = WebConfig::default();
    let client_version = config.client_version.unwrap_or(known.client_version);
    let web = WebConfig { logins: config.login_gate, client_version, ..known };
    let vault = Arc::new(open_vault(config)?);
    let gateway = WebGateway::new(web, store.clone(), Arc::new(Credentials(ledgers.clone())), vault)?;
    let sessions = Setup {
        ledgers: ledgers.clone(),
        store: store.clone(),
        gateway,
        directory: directory.clone(),
        reconnect: Schedule::exponential(Duration::from_secs(1), Duration::from_secs(60)),
        ack_within: Duration::from_secs(30),
        linger: Duration::from_secs(60),
    };
    Ok(Parts {
        store,
        stream: Arc::new(MemoryStream::new(Limits::default())),
        queries: Queries::new(QUERIES),
        relays: Relays::new(config.shards),
        consumers: Consumers::default(),
        hub: Hub::new(Shard(0), hub::Limits { buffer: config.hub_buffer, ..hub::Limits::default() }),
        directory,
        sessions,
        groups,
        consumer: consumer::Settings {
            retries: config.events.retries(),
            poll: config.events.claim_interval,
            claim: config.events.claim_idle,
            ..consumer::Settings::default()
        },
        shards: config.shards,
        node: (EMBEDDED_NODE.into(), url.to_owned()),
        max_sessions: usize::try_from(config.max_sessions).unwrap_or(usize::MAX),
        keys_for: KEYS_FOR,
        ledgers,
    })
}
