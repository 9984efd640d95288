//! The whole service as one value: put together, started, stopped. Used by `serve`, by `demo` and by tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;

use super::engines;
use super::first_key::FirstKey;
use crate::actors::archive::Queries;
use crate::actors::backup;
use crate::actors::consumer::{self, Consumers};
use crate::actors::directory::Directory;
use crate::actors::hub;
use crate::actors::hubs::Hubs;
use crate::actors::identity::{self, Credentials, Secrets};
use crate::actors::intake::{self, Terms};
use crate::actors::leases::Pace;
use crate::actors::ledger::Ledgers;
use crate::actors::limiter::{self, Admission};
use crate::actors::neighbours::Neighbours;
use crate::actors::pulse::{Organs, Pulse};
use crate::actors::relay::Relays;
use crate::actors::send_mails::{self, SendMails};
use crate::actors::session::Setup;
use crate::actors::tree::{self, Group, Parts, Tree};
use crate::config::{Config, Mode};
use crate::domain::cluster::NodeView;
use crate::domain::event::Log;
use crate::domain::ids::TenantId;
use crate::domain::retry::Schedule;
use crate::domain::time::now;
use crate::domain::write::{AuthWrite, Write};
use crate::http::{self, Api};
use crate::infra::gateway::web::{AuthWriter, WebConfig, WebGateway, trust};
use crate::infra::mail;
use crate::infra::one_time::OneTimeTokens;
use crate::infra::passwords::Argon2id;
use crate::infra::peers::Peers;
use crate::infra::store::Store;
use crate::infra::tokens::jwt::Jwts;
use crate::infra::tokens::{Realm, SigningKey};
use crate::infra::vault::Vault;
use crate::telemetry;

/// The most queries at once.
const QUERIES: usize = 1024;

/// The most passwords that wait to be checked.
const PASSWORDS: usize = 64;

/// How long an idempotency key is remembered.
const KEYS_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// When a failed backup is tried again.
const BACKUP_AGAIN: Duration = Duration::from_secs(10 * 60);

/// The name of the only process that may own an embedded store: it may take over its own leases after a crash, since
/// the store's lock proves that no other process runs.
const EMBEDDED_NODE: &str = "embedded";

/// A running service.
pub struct Service {
    tree: Tree,
    api: Arc<Api>,
    pulse: Arc<Pulse>,
    store: Arc<dyn Store>,
    first_key: FirstKey,
    url: String,
    notice: Duration,
    stop_within: Duration,
}

/// The engine's credentials go through the one writer like everything else.
struct DeviceKeys(Ledgers);

#[async_trait]
impl AuthWriter for DeviceKeys {
    async fn write(&self, write: AuthWrite) -> crate::domain::Result<()> {
        self.0.write_patiently(Write::Auth(write)).await.map(|_done| ())
    }
}

/// The key for credentials at rest: from the configuration, or from a 0600 file made at first start.
///
/// # Errors
/// When the key is malformed, or missing in production, or the folder cannot be made.
pub fn open_vault(config: &Config) -> Result<Vault> {
    match &config.encryption_key {
        Some(key) => Ok(Vault::new(&key.0)),
        None => {
            std::fs::create_dir_all(&config.data_dir).context("the data folder cannot be made")?;
            Ok(Vault::load_or_create(&config.data_dir.join("encryption.key"))?)
        }
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
        std::fs::create_dir_all(&config.data_dir).context("the data folder cannot be made")?;
        let socket = std::net::TcpListener::bind(config.listen).context("the port cannot be opened")?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let url = format!("http://{address}");
        let vault = Arc::new(open_vault(&config)?);
        telemetry::hash_under(vault.key_for(telemetry::LOG_NAMES)?);
        let store = engines::open_store_patiently(&config, &socket).await?;
        let parts = parts(&config, (store.clone(), vault.clone()), groups, address)?;
        telemetry::start_metrics();
        let pulse = Pulse::new(Organs {
            ledgers: parts.ledgers.clone(),
            queries: parts.queries.clone(),
            directory: parts.directory.clone(),
            stream: parts.stream.clone(),
            ttl: config.lease,
        });
        let peers = Arc::new(Peers::new(vault.key_for("recado node to node v1")?)?);
        let api = api(&config, &parts, pulse.clone(), peers);
        let tree = tree::start(parts, vec![http::actor::child(Arc::new(socket), api.clone())]).await?;
        pulse.watch(tree.root());
        let first_key = FirstKey::in_folder(&config.data_dir);
        Ok(Self {
            tree,
            api,
            pulse,
            store,
            first_key,
            url,
            notice: config.stop_notice,
            stop_within: config.stop,
        })
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

    /// Stops in order, after saying for a while that it is about to; true when everything ended within the deadline.
    pub async fn stop(self) -> bool {
        self.pulse.stopping();
        tokio::time::sleep(self.notice).await;
        let stopped = self.tree.stop(self.stop_within.saturating_sub(self.notice)).await;
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

fn api(config: &Config, parts: &Parts, health: Arc<Pulse>, peers: Arc<Peers>) -> Arc<Api> {
    let actors = http::Actors {
        ledgers: parts.ledgers.clone(),
        queries: parts.queries.clone(),
        hubs: parts.hubs.clone(),
        directory: parts.directory.clone(),
        neighbours: Neighbours::new(parts.directory.clone(), peers),
        health,
        credentials: parts.identity.credentials.clone(),
        admission: parts.limiter.admission.clone(),
    };
    Api::new(actors, config.http())
}

fn parts(
    config: &Config,
    (store, vault): (Arc<dyn Store>, Arc<Vault>),
    mut groups: Vec<Group>,
    address: SocketAddr,
) -> Result<Parts> {
    let queries = Queries::new(QUERIES);
    groups.push(mails(config, &vault, queries.clone(), address)?);
    let ledgers = ledgers(config);
    let limiter = limiter(config, &vault)?;
    let directory = Directory::new(config.shards);
    let known = WebConfig::default();
    let client_version = config.client_version.unwrap_or(known.client_version);
    let web = WebConfig { logins: config.login_gate, client_version, ..known };
    let identity = identity(config, (&ledgers, &queries), &vault)?;
    let gateway = WebGateway::new(web, store.clone(), Arc::new(DeviceKeys(ledgers.clone())), vault)?;
    let sessions = Setup {
        ledgers: ledgers.clone(),
        store: store.clone(),
        gateway,
        directory: directory.clone(),
        reconnect: Schedule::exponential(Duration::from_secs(1), Duration::from_secs(60)),
        ack_within: Duration::from_secs(30),
        linger: Duration::from_secs(60),
        pacing: config.pacing,
    };
    let node = node(config, address);
    let engines::Streams { stream, hints, intake } = engines::open_streams(config, &node.node)?;
    let terms = Terms {
        shards: config.shards,
        message_deadline: config.message_deadline,
        queue_limit: config.session_queue.into(),
    };
    let (ordered, claim) = (ledgers.clone(), config.events.claim_idle);
    let intake = intake.filter(|_| config.roles.owns());
    let intake = intake.map(|intake| intake::Arguments { intake, ledgers: ordered, terms, claim });
    let hubs = if config.roles.serves() { config.shards } else { 0 };
    let backup = nightly(config, &directory)?;
    Ok(Parts {
        store,
        stream,
        hints,
        intake,
        queries,
        identity,
        limiter,
        relays: Relays::new(config.shards),
        consumers: Consumers::default(),
        hubs: Hubs::new(hubs, hub::Limits { buffer: config.hub_buffer, ..hub::Limits::default() }),
        directory,
        sessions,
        groups,
        consumer: consumer::Settings {
            retries: config.events.retries(),
            poll: config.events.claim_interval,
            ..consumer::Settings::default()
        }
        .claimed_after(config.events.claim_idle),
        shards: config.shards,
        node,
        pace: pace(config),
        max_sessions: usize::try_from(config.max_sessions).unwrap_or(usize::MAX),
        keys_for: KEYS_FOR,
        backup,
        ledgers,
    })
}

/// One writer, or where nodes share the tables several and one for signs of life.
fn ledgers(config: &Config) -> Ledgers {
    match config.database {
        Some(_) => Ledgers::with_life_apart(config.ledgers, config.ledger_depth),
        None => Ledgers::new(config.ledger_depth),
    }
}

/// Passwords, tokens, and the keys for these.
fn identity(
    config: &Config,
    (ledgers, queries): (&Ledgers, &Queries),
    vault: &Arc<Vault>,
) -> Result<identity::Arguments> {
    let terms = identity::Terms::new(config.identity.access_for, config.identity.signing_for);
    let tokens = Arc::new(Jwts::new(Realm::default()));
    let credentials = Credentials::new(PASSWORDS, tokens, Secrets::of(vault)?, terms);
    Ok(identity::Arguments {
        credentials,
        ledgers: ledgers.clone(),
        queries: queries.clone(),
        hashing: Arc::new(Argon2id::new(config.identity.cost)?),
        vault: vault.clone(),
        shared: config.identity.shared.as_ref().map(|secret| SigningKey::shared(secret.0.as_bytes())),
    })
}

/// The group that writes to people.
fn mails(config: &Config, vault: &Vault, queries: Queries, listens: SocketAddr) -> Result<Group> {
    let settings = &config.mail;
    let folder = config.data_dir.join("mail");
    let key = vault.key_for("recado mail addresses in logs v1")?;
    let mail =
        mail::open(&settings.place, settings.from.clone(), (&folder, settings.trust.as_deref()), *key)?;
    if config.mode == Mode::Production && !matches!(settings.place, mail::Place::Smtp(_)) {
        tracing::warn!(
            "no mail server is set (RECADO_MAIL_URL): what people should be told by mail reaches nobody"
        );
    }
    let base = settings.public_url.clone().unwrap_or_else(|| format!("http://{listens}"));
    let tokens = OneTimeTokens::of(vault)?;
    let handler = Arc::new(SendMails { queries, mail, tokens, base });
    Ok(Group { name: send_mails::GROUP.into(), log: Log::DomainEvents, handler })
}

/// What requests are held against. A connection has one request at a time, so all find a place.
fn limiter(config: &Config, vault: &Vault) -> Result<limiter::Arguments> {
    let shared = engines::open_limits(config, vault)?.map(limiter::Shared::new);
    let admission = Admission::new(config.limits, config.connections);
    Ok(limiter::Arguments { admission, own: Arc::default(), shared })
}

/// Who this process is among others.
fn node(config: &Config, listens: SocketAddr) -> NodeView {
    let reached = || match listens.ip().is_unspecified() {
        // Within a container network, a host is reached by its name.
        true => format!("http://{}:{}", host_name(), listens.port()),
        false => format!("http://{listens}"),
    };
    NodeView {
        node: match config.database {
            Some(_) => uuid::Uuid::now_v7().to_string(),
            None => EMBEDDED_NODE.to_owned(),
        },
        address: config.node_address.clone().unwrap_or_else(reached),
        roles: config.roles.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: now(),
        seen_at: now(),
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

fn pace(config: &Config) -> Pace {
    let ttl = config.lease;
    let known = Pace::default();
    Pace {
        ttl,
        renew: ttl / 3,
        trust: ttl * 2 / 3,
        look: known.look.min(ttl / 5),
        tick: known.tick.min(ttl / 30),
        drain: config.stop / 3,
    }
}

/// Backups by the clock, unless they are switched off.
fn nightly(config: &Config, directory: &Directory) -> Result<Option<backup::Arguments>> {
    let Some(cron) = config.backup.cron.clone() else { return Ok(None) };
    let (folder, keep) = (config.backup.folder.clone(), config.backup.keep);
    let plan = backup::Plan { cron, folder, keep, again: BACKUP_AGAIN };
    Ok(Some(backup::Arguments { tables: engines::backups(config)?, directory: directory.clone(), plan }))
}
