//! Everything that can be set from outside, read once at the start.
//!
//! Promises: every variable is documented in [`VARIABLES`] with its default, and the code takes the default from
//! there; all problems are reported at once; combinations that cannot work are refused, and in production secrets that
//! everybody knows; no secret shows in `Debug`, in a problem or in what is [`inspect`]ed.

mod identity;
mod mail;
mod read;
mod shown;
mod sources;
mod variables;
mod weak;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::domain::cluster::Roles;
use crate::domain::cron::Cron;
use crate::domain::limit::Rates;
use crate::domain::pacing::Rules;
use crate::domain::retry::{Retries, Schedule};
use crate::http::{HttpConfig, Proxies};
use crate::telemetry::LogFormat;
pub use identity::{IdentityConfig, SharedSecret};
pub use mail::MailConfig;
use read::Reader;
pub use shown::{Origin, Setting};
pub use sources::Place;
use sources::Source;
pub use variables::{VARIABLES, Variable, table};

/// Where the encryption key may be given.
const KEY: [&str; 2] = ["RECADO_ENCRYPTION_KEY", "RECADO_ENCRYPTION_KEY_FILE"];

/// The settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where HTTP listens.
    pub listen: SocketAddr,
    /// Where tables and keys are kept.
    pub data_dir: PathBuf,
    /// How careful to be.
    pub mode: Mode,
    /// The key that credentials are encrypted under; `None`: one is made in the data folder.
    pub encryption_key: Option<EncryptionKey>,
    /// Postgres; `None`: SQLite in the data folder.
    pub database: Option<SecretUrl>,
    /// Connections to Postgres.
    pub database_pool: u32,
    /// Redis; `None`: streams in memory.
    pub redis: Option<SecretUrl>,
    /// Slices of sessions.
    pub shards: u16,
    /// Writers.
    pub ledgers: usize,
    /// What this process does.
    pub roles: Roles,
    /// Where other nodes reach this one; `None`: by the host's name.
    pub node_address: Option<String>,
    /// How long a lease lasts unless renewed.
    pub lease: Duration,
    /// Writes that may wait for the ledger.
    pub ledger_depth: usize,
    /// Unfinished commands a session may have.
    pub session_queue: u32,
    /// When a message fails that WhatsApp has not acknowledged.
    pub message_deadline: Duration,
    /// How much a session may send.
    pub pacing: Rules,
    /// Logins to WhatsApp at once.
    pub login_gate: usize,
    /// Sessions of a tenant.
    pub max_sessions: u32,
    /// Events kept ready for a client before it has to read from the tables.
    pub hub_buffer: usize,
    /// HTTP connections at once.
    pub connections: usize,
    /// Web origins that may call from a browser.
    pub cors_origins: Vec<String>,
    /// How often somebody may ask.
    pub limits: Rates,
    /// Who may say for whom it asks.
    pub trusted_proxies: Proxies,
    /// What to log.
    pub log_level: String,
    /// How to log.
    pub log_format: LogFormat,
    /// Deliveries to consumers.
    pub events: EventsConfig,
    /// The WhatsApp client version to show, instead of the newest.
    pub client_version: Option<(u32, u32, u32)>,
    /// Where to write the first API key besides showing it.
    pub api_key_file: Option<PathBuf>,
    /// Mail.
    pub mail: MailConfig,
    /// How long events and messages are kept; `None`: for ever.
    pub retention: Option<Duration>,
    /// How long readiness says no before an orderly stop begins.
    pub stop_notice: Duration,
    /// People and tokens.
    pub identity: IdentityConfig,
    /// Backups.
    pub backup: BackupConfig,
    /// How long an orderly stop may take.
    pub stop: Duration,
    /// What works and should not stay so; for the log of the start.
    pub warnings: Vec<String>,
}

/// An address with a password in it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(pub Zeroizing<String>);

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl(…)")
    }
}

/// When and where backups are taken.
#[derive(Clone, Debug)]
pub struct BackupConfig {
    /// Where to.
    pub folder: PathBuf,
    /// When; `None` for never.
    pub cron: Option<Cron>,
    /// How many are kept.
    pub keep: usize,
}

/// How consumers deliver events.
#[derive(Clone, Debug)]
pub struct EventsConfig {
    /// The stream of events.
    pub stream: String,
    /// The stream of dead letters.
    pub dlq_stream: String,
    /// The built-in group.
    pub group: String,
    /// This process in groups.
    pub consumer: String,
    /// Tries before an entry becomes a dead letter.
    pub max_attempts: u32,
    /// Wait after the first failure.
    pub backoff: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
    /// When an entry that a consumer holds is taken from it.
    pub claim_idle: Duration,
    /// How often to look for such entries.
    pub claim_interval: Duration,
}

impl EventsConfig {
    /// As a retry schedule.
    #[must_use]
    pub fn retries(&self) -> Retries {
        Retries { tries: self.max_attempts, schedule: Schedule::exponential(self.backoff, self.backoff_max) }
    }
}

/// How careful to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Missing secrets are made.
    Development,
    /// Missing secrets are refused.
    Production,
}

/// 32 secret bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionKey(pub Zeroizing<[u8; 32]>);

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionKey(…)")
    }
}

/// All that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl std::error::Error for Problems {}

/// Everything that can be set, as it is, and what comes of it.
#[derive(Debug)]
pub struct Inspected {
    /// What holds, in the order of the table; no secret among it.
    pub settings: Vec<Setting>,
    /// The settings put together, or all that is wrong with them.
    pub config: Result<Config, Problems>,
}

/// Reads the process's environment and, for what is not in it, `.env` in the working folder.
#[must_use]
pub fn inspect() -> Inspected {
    let mut problems = Vec::new();
    let file = sources::env_file(Path::new(".env")).unwrap_or_else(|problem| {
        problems.push(problem);
        Default::default()
    });
    let known = || {
        VARIABLES
            .iter()
            .flat_map(|variable| [variable.name].into_iter().chain(variable.older.iter().copied()))
    };
    let not_text =
        known().filter(|name| std::env::var_os(name).is_some_and(|value| value.to_str().is_none()));
    problems.extend(not_text.map(|name| format!("{name} is not UTF-8")));
    let environment = Source { place: Place::Environment, variable: &|name| std::env::var(name).ok() };
    let file = Source { place: Place::EnvFile, variable: &|name| file.get(name).cloned() };
    let mut inspected = Config::inspect(&[environment, file]);
    if !problems.is_empty() {
        if let Err(Problems(more)) = &mut inspected.config {
            problems.append(more);
        }
        inspected.config = Err(Problems(problems));
    }
    inspected
}

impl Config {
    /// Reads the process's environment and, for what is not in it, `.env` in the working folder.
    ///
    /// # Errors
    /// All problems at once.
    pub fn from_environment() -> Result<Self, Problems> {
        inspect().config
    }

    /// The defaults, on a free port and in this folder: for the demo and for tests.
    ///
    /// # Errors
    /// When a documented default is wrong.
    pub fn embedded(folder: &Path) -> Result<Self, Problems> {
        let config = Self::read(&|name| (name == "RECADO_LISTEN").then(|| "127.0.0.1:0".to_owned()))?;
        let backup = BackupConfig { folder: folder.join("backups"), ..config.backup.clone() };
        Ok(Self { data_dir: folder.to_owned(), stop_notice: Duration::ZERO, backup, ..config })
    }

    /// Reads variables from anywhere.
    ///
    /// # Errors
    /// All problems at once.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Problems> {
        Self::inspect(&[Source { place: Place::Environment, variable }]).config
    }

    fn inspect(sources: &[Source<'_>]) -> Inspected {
        let mut reader = Reader::new(sources);
        let mut config = Self::gather(&mut reader);
        config.cross_check(&mut reader);
        let weak = reader.weak();
        let weak = weak
            .iter()
            .map(|what| format!("{what} is well known or a placeholder; make one: openssl rand -hex 32"));
        match config.mode {
            Mode::Production => weak.for_each(|problem| reader.problem(problem)),
            Mode::Development => config.warnings.extend(weak),
        }
        let (config, settings) = reader.finish(config);
        Inspected { settings, config }
    }

    fn gather(reader: &mut Reader<'_>) -> Self {
        let mode = match reader.one_of("RECADO_ENV", &["development", "production"]).as_str() {
            "production" => Mode::Production,
            _ => Mode::Development,
        };
        let database = reader.secret_url("DATABASE_URL", &["postgres", "postgresql"]);
        let shards = if database.is_some() { 16 } else { 1 };
        let ledgers = reader.number("RECADO_LEDGERS", 1..=64);
        let ledgers = if database.is_some() { ledgers } else { 1 };
        reader.effective("RECADO_LEDGERS", ledgers);
        Self {
            listen: reader.listen(),
            shards: reader.number_or("RECADO_SHARDS", 1..=1024, shards),
            ledgers,
            database,
            database_pool: reader.number("RECADO_DB_POOL", 4..=1000),
            redis: reader.secret_url("REDIS_URL", &["redis", "rediss"]),
            roles: reader.roles("RECADO_ROLES"),
            node_address: reader.address("RECADO_NODE_ADDRESS"),
            lease: reader.seconds("RECADO_LEASE_SECS", 3..=300),
            retention: reader.days("RECADO_RETENTION_DAYS", 31..=36_500),
            stop_notice: reader.seconds("RECADO_STOP_NOTICE_SECS", 0..=60),
            data_dir: reader.text("RECADO_DATA_DIR").into(),
            mode,
            encryption_key: reader.encryption_key(),
            ledger_depth: reader.number("RECADO_LEDGER_DEPTH", 16..=1_000_000),
            session_queue: reader.number("RECADO_SESSION_QUEUE", 1..=1_000_000),
            message_deadline: reader.seconds("RECADO_MESSAGE_DEADLINE_SECS", 5..=604_800),
            pacing: Self::pacing(reader),
            login_gate: reader.number("RECADO_LOGIN_GATE", 1..=10_000),
            max_sessions: reader.number("RECADO_MAX_SESSIONS", 1..=1_000_000),
            hub_buffer: reader.number("RECADO_HUB_BUFFER", 16..=65_536),
            connections: reader.number("RECADO_MAX_CONNECTIONS", 16..=1_000_000),
            cors_origins: reader.origins("RECADO_CORS_ORIGINS"),
            limits: reader.rates(),
            trusted_proxies: reader.proxies("RECADO_TRUSTED_PROXIES"),
            log_level: reader.log_level(),
            log_format: reader.log_format(),
            events: Self::events(reader),
            api_key_file: Some(reader.text("RECADO_API_KEY_FILE"))
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            identity: IdentityConfig::read(reader, mode),
            mail: MailConfig::gather(reader),
            client_version: reader.version("RECADO_CLIENT_VERSION"),
            backup: BackupConfig {
                folder: reader.text("RECADO_BACKUP_DIR").into(),
                cron: reader.cron("RECADO_BACKUP_CRON"),
                keep: reader.number("RECADO_BACKUP_KEEP", 1..=10_000),
            },
            stop: reader.seconds("RECADO_STOP_SECS", 5..=600),
            warnings: Vec::new(),
        }
    }

    fn events(reader: &mut Reader<'_>) -> EventsConfig {
        EventsConfig {
            stream: reader.name("EVENTS_STREAM"),
            dlq_stream: reader.name("EVENTS_DLQ_STREAM"),
            group: reader.name("EVENTS_GROUP"),
            consumer: reader.name_or("EVENTS_CONSUMER", || format!("consumer-{}", std::process::id())),
            max_attempts: reader.number("EVENTS_MAX_ATTEMPTS", 1..=100),
            backoff: reader.millis("EVENTS_BACKOFF_MS", 1..=3_600_000),
            backoff_max: reader.millis("EVENTS_BACKOFF_MAX_MS", 1..=86_400_000),
            claim_idle: reader.millis("EVENTS_CLAIM_IDLE_MS", 100..=3_600_000),
            claim_interval: reader.millis("EVENTS_CLAIM_INTERVAL_MS", 100..=3_600_000),
        }
    }

    fn pacing(reader: &mut Reader<'_>) -> Rules {
        Rules {
            per_minute: reader.most("RECADO_PACE_PER_MINUTE"),
            per_day: reader.most("RECADO_PACE_PER_DAY"),
            new_chats_per_day: reader.most("RECADO_PACE_NEW_CHATS_PER_DAY"),
            warm_up_days: reader.number("RECADO_PACE_WARM_UP_DAYS", 0..=365),
            cool_down: reader.seconds("RECADO_PACE_COOL_DOWN_SECS", 0..=86_400),
        }
    }

    fn cross_check(&self, reader: &mut Reader<'_>) {
        if self.mode == Mode::Production && self.encryption_key.is_none() && !reader.was_given(&KEY) {
            reader.problem(
                "RECADO_ENCRYPTION_KEY or RECADO_ENCRYPTION_KEY_FILE must be set when RECADO_ENV=production: a key \
                 made by the service would be lost with its disk",
            );
        }
        if self.database.is_none() && self.shards != 1 {
            reader.problem("RECADO_SHARDS must be 1 without DATABASE_URL: the embedded engine has one shard");
        }
        if self.database.is_none() && self.retention.is_some() {
            reader.problem("RECADO_RETENTION_DAYS needs DATABASE_URL: SQLite has no partitions to drop");
        }
        if self.database.is_none() && self.roles != Roles::default() {
            reader.problem("RECADO_ROLES needs DATABASE_URL: the embedded engine is one process");
        }
        if self.database.is_some() {
            if self.redis.is_none() && !reader.was_given(&["REDIS_URL", "REDIS_URL_FILE"]) {
                reader.problem("REDIS_URL must be set with DATABASE_URL: other nodes see events through it");
            }
            // In production it must be set anyway.
            if self.encryption_key.is_none() && !reader.was_given(&KEY) && self.mode != Mode::Production {
                reader.problem(
                    "RECADO_ENCRYPTION_KEY or RECADO_ENCRYPTION_KEY_FILE must be set with DATABASE_URL: all nodes \
                     share one key",
                );
            }
        }
        let daily = self.pacing.per_day.or(self.pacing.new_chats_per_day);
        if self.pacing.warm_up_days > 0 && daily.is_none() {
            reader.problem(
                "RECADO_PACE_WARM_UP_DAYS needs RECADO_PACE_PER_DAY or RECADO_PACE_NEW_CHATS_PER_DAY: there is no \
                 daily allowance that could grow",
            );
        }
        if self.stop_notice + Duration::from_secs(4) > self.stop {
            reader.problem("RECADO_STOP_NOTICE_SECS must leave at least 4 s of RECADO_STOP_SECS");
        }
        if self.events.backoff > self.events.backoff_max {
            reader.problem("EVENTS_BACKOFF_MS must not be more than EVENTS_BACKOFF_MAX_MS");
        }
        if self.events.claim_interval > self.events.claim_idle {
            reader.problem(
                "EVENTS_CLAIM_INTERVAL_MS must not be more than EVENTS_CLAIM_IDLE_MS: idle entries would wait longer \
                 than that",
            );
        }
    }

    /// The limits of the API.
    #[must_use]
    pub fn http(&self) -> HttpConfig {
        HttpConfig {
            serves: self.roles.serves(),
            max_sessions: self.max_sessions.into(),
            session_queue: self.session_queue.into(),
            message_deadline: self.message_deadline,
            pacing: self.pacing,
            connections: self.connections,
            drain: self.stop / 3,
            cors_origins: self.cors_origins.clone(),
            registration: self.identity.registration,
            login_for: self.identity.login_for,
            secure_cookies: self.mode == Mode::Production || !self.listen.ip().is_loopback(),
            proxies: self.trusted_proxies.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
