//! Postgres behind the [`Store`] port: for several nodes on one set of tables.
//!
//! Promises what the port promises, to many writers at once, and: a committed write survives whatever the server's disk
//! survives (`synchronous_commit` is on); a batch that another transaction got in the way of is tried again; a commit
//! that is given up half-way leaves nothing and nothing open; no password is in any error.
//!
//! A session's row is the lock of all that is the session's; a lease's row is shared by all fenced writes and held alone by whoever takes
//! it anew; a relay's row is held while positions are given. What a batch comes to is judged in memory, in
//! [`batch`](super::batch), and read and written in statements over arrays, in [`commit`].
//!
//! What is asked for a tenant is asked on a connection that sees this tenant's rows alone: row-level security stands behind
//! the conditions of the queries (docs/adr/0022).

mod commit;
mod connections;
mod migrations;
mod people;
mod read;
mod retention;
mod settings;
mod sql;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::timeout;

use super::columns::Columns;
use super::{Answers, Store};
use crate::domain::cluster::Cluster;
use crate::domain::error::{Error, Result};
use crate::domain::event::{Entry, Event, Log};
use crate::domain::ids::{MessageId, Position, SessionId, Shard, TenantId, WaId};
use crate::domain::pacing::History;
use crate::domain::time::{Timestamp, now};
use crate::domain::view::{
    ChatView, DeadLetterView, EventFilter, GroupState, LogHead, MessageView, Page, PageRequest, Redriving,
    SessionView, Transition,
};
use crate::domain::write::Write;
use commit::ChatIds;
use connections::{ALL, Connections};
pub use settings::Settings;
use sql::{CONTENDED, Cells, GONE, execute, plain, row};

/// How often a batch is tried that other transactions get in the way of.
const TRIES: u32 = 8;

/// What a statement may take beyond the server's own limit: the way there and back.
const ON_THE_WAY: Duration = Duration::from_secs(3);

/// How long migrations may take, and wait for another node's.
const MIGRATE_WITHIN: Duration = Duration::from_secs(300);

const ROOM: &str = "select current_setting('max_connections')::int, \
    current_setting('superuser_reserved_connections')::int \
    + coalesce(current_setting('reserved_connections', true), '0')::int, current_setting('server_encoding')";
/// Whether row-level security holds this role: 0 yes, 1 once it has stepped down, 2 no.
const HELD: &str = "select case when rolsuper and exists (select from pg_roles p where p.rolname = 'pg_read_all_data') \
    then 1 when rolsuper or rolbypassrls then 2 else 0 end from pg_roles where rolname = current_user";
const PROBE: &str =
    "insert into probes (id, at) values (1, $1) on conflict (id) do update set at = excluded.at";

/// The tables in a Postgres database.
pub struct PostgresStore {
    writers: Connections,
    readers: Connections,
    chat_ids: ChatIds,
    settings: Settings,
}

impl PostgresStore {
    /// Connects, and brings the tables to the newest version.
    ///
    /// # Errors
    /// `Invalid` when the URL or the settings cannot be used, saying what to change; `Unavailable` when the server does
    /// not answer.
    pub async fn open(url: &str, settings: Settings) -> Result<Self> {
        let options = options(url, &settings)?;
        let most = settings.max_connections.max(2);
        let patience = settings.statement_timeout;
        let store = Self {
            writers: Connections::new(options.clone(), most / 2, patience),
            readers: Connections::new(options, most - most / 2, patience),
            chat_ids: ChatIds::default(),
            settings,
        };
        let mut first = store.writers.connect().await?;
        check(&mut first, most).await?;
        if held(&mut first).await? == Held::StepsDown {
            store.readers.step_down();
        }
        let ready = async {
            plain(&mut first, "set statement_timeout = 0").await?;
            migrations::forward(&mut first).await?;
            retention::prepare(&mut first, &store.settings, now()).await
        };
        let late = |_elapsed| Error::unavailable("store_not_migrated", "migrations take too long");
        timeout(MIGRATE_WITHIN, ready).await.map_err(late)??;
        Ok(store)
    }

    /// Takes the tables back to `version`; 0 removes them all.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub async fn revert(url: &str, version: i64) -> Result<()> {
        let mut conn = options(url, &Settings::default())?.connect().await.map_err(sql::failed)?;
        plain(&mut conn, "set statement_timeout = 0").await?;
        let late = |_elapsed| Error::unavailable("store_not_migrated", "migrations take too long");
        timeout(MIGRATE_WITHIN, migrations::back(&mut conn, version)).await.map_err(late)?
    }

    fn deadline(&self) -> Duration {
        self.settings.statement_timeout + ON_THE_WAY
    }

    /// One try of a batch.
    async fn transaction(&self, batch: &[Write]) -> Result<Answers> {
        let mut lent = self.writers.lend().await?;
        let answers = commit::commit(lent.conn(), &self.chat_ids, batch).await;
        match &answers {
            Ok(_) => lent.give_back(),
            Err(error) if error.code == CONTENDED => {
                if plain(lent.conn(), "rollback").await.is_ok() {
                    lent.give_back();
                }
            }
            Err(error) => self.distrust(error),
        }
        answers
    }

    /// When the server has gone, so have the connections that rest.
    fn distrust(&self, error: &Error) {
        if error.code == GONE {
            self.writers.forget();
            self.readers.forget();
        }
    }
}

/// What every connection is told as it is made.
fn options(url: &str, settings: &Settings) -> Result<PgConnectOptions> {
    let bad = |_may_name_the_password| {
        Error::invalid("url", "invalid_store_url", "must be postgres://user:password@host:port/database")
    };
    let millis = |limit: Duration| limit.as_millis().to_string();
    let options = PgConnectOptions::from_str(url).map_err(bad)?;
    // A plan is made once per connection and statement, whatever the tables held then: every statement here finds its
    // rows by index, one by one, and a plan made on empty tables must not read them all when they are full.
    Ok(options.application_name("recado").statement_cache_capacity(256).disable_statement_logging().options(
        [
            ("statement_timeout", millis(settings.statement_timeout).as_str()),
            (
                "idle_in_transaction_session_timeout",
                millis(settings.idle_in_transaction_session_timeout).as_str(),
            ),
            ALL,
            ("synchronous_commit", "on"),
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("jit", "off"),
        ],
    ))
}

/// How row-level security holds the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Always,
    /// It is a superuser, and reads for a tenant as another role.
    StepsDown,
    Never,
}

/// Whether the server keeps tenants apart for us.
async fn held(conn: &mut PgConnection) -> Result<Held> {
    let held = match row(conn, HELD, Cells::new()).await?.map_or(Ok(2), |row| row.int(0))? {
        0 => Held::Always,
        1 => Held::StepsDown,
        _ => Held::Never,
    };
    if held == Held::Never {
        tracing::warn!(
            "the database's role bypasses row-level security: only the queries themselves keep tenants apart; \
             use a role that does not"
        );
    }
    Ok(held)
}

/// Whether the server has room for us, and speaks our language.
async fn check(conn: &mut PgConnection, wanted: usize) -> Result<()> {
    let found = row(conn, ROOM, Cells::new()).await?;
    let found = found.ok_or_else(|| Error::bug("the server has no settings"))?;
    let (all, reserved) = (found.int(0)?, found.int(1)?);
    if i64::try_from(wanted).unwrap_or(i64::MAX) > all - reserved {
        let message = format!(
            "this node wants {wanted} connections, the server lets in {} (max_connections {all} less {reserved} \
             reserved): raise the server's max_connections or lower the node's",
            all - reserved
        );
        return Err(Error::invalid("max_connections", "store_too_many_connections", message));
    }
    if found.text(2)? != "UTF8" {
        return Err(Error::invalid("url", "store_not_utf8", "the database's encoding must be UTF8"));
    }
    Ok(())
}

/// Asks on a connection of the readers, within the deadline; `of` a tenant on one that sees its rows alone.
macro_rules! ask {
    ($store:expr, of $tenant:expr, $query:path $(, $argument:expr)*) => {
        ask!(@ $store, $tenant, $query $(, $argument)*)
    };
    ($store:expr, $query:path $(, $argument:expr)*) => {
        ask!(@ $store, None, $query $(, $argument)*)
    };
    (@ $store:expr, $tenant:expr, $query:path $(, $argument:expr)*) => {{
        let mut lent = $store.readers.lend_for($tenant).await?;
        let late = |_elapsed| Error::unavailable(GONE, "the store did not answer in time");
        let answer = timeout($store.deadline(), $query(lent.conn() $(, $argument)*)).await;
        let answer = answer.map_err(late).and_then(|answer| answer);
        match &answer {
            // A refused question leaves no transaction.
            Ok(_) => lent.give_back(),
            Err(error) => $store.distrust(error),
        }
        answer
    }};
}
use ask;

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, batch: Arc<[Write]>) -> Result<Answers> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let tried = async {
            for _ in 1..TRIES {
                match self.transaction(&batch).await {
                    Err(error) if error.code == CONTENDED => {
                        tracing::debug!(%error, writes = batch.len(), "a batch is tried again");
                    }
                    answer => return answer,
                }
            }
            self.transaction(&batch).await
        };
        let late = |_elapsed| Error::unavailable(GONE, "the store did not commit in time");
        timeout(self.deadline(), tried).await.map_err(late)?
    }

    fn accepts_apart(&self) -> bool {
        true
    }

    async fn upkeep(&self, at: Timestamp) -> Result<usize> {
        ask!(self, retention::step, &self.settings, at)
    }

    async fn session(&self, tenant: TenantId, session: SessionId) -> Result<Option<SessionView>> {
        let found = ask!(self, of Some(tenant), read::sessions::one, session)?;
        Ok(found.filter(|view| view.tenant_id == tenant))
    }

    async fn owned_session(&self, session: SessionId) -> Result<Option<SessionView>> {
        ask!(self, read::sessions::one, session)
    }

    async fn sessions(&self, tenant: TenantId, page: PageRequest) -> Result<Page<SessionView>> {
        ask!(self, of Some(tenant), read::sessions::list, tenant, &page)
    }

    async fn sessions_behind(&self, shard: Shard, before: Timestamp, limit: usize) -> Result<Vec<SessionId>> {
        ask!(self, read::sessions::behind, shard, before, limit)
    }

    async fn sessions_to_run(
        &self,
        shard: Shard,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionId>> {
        ask!(self, read::sessions::to_run, shard, after, limit)
    }

    async fn timeline(&self, tenant: TenantId, session: SessionId) -> Result<Vec<Transition>> {
        ask!(self, of Some(tenant), read::sessions::timeline, tenant, session)
    }

    async fn message(&self, tenant: TenantId, message: MessageId) -> Result<Option<MessageView>> {
        ask!(self, of Some(tenant), read::messages::one, tenant, message)
    }

    async fn pacing(&self, tenant: TenantId, session: SessionId) -> Result<Option<History>> {
        ask!(self, of Some(tenant), read::pacing::history, tenant, session)
    }

    async fn begins_chat(&self, tenant: TenantId, message: MessageId) -> Result<bool> {
        ask!(self, of Some(tenant), read::pacing::begins_chat, tenant, message)
    }

    async fn has_message(&self, tenant: TenantId, session: SessionId, id: &WaId) -> Result<bool> {
        ask!(self, of Some(tenant), read::messages::has, (tenant, session), id)
    }

    async fn messages(
        &self,
        tenant: TenantId,
        session: Option<SessionId>,
        chat: &str,
        page: PageRequest,
    ) -> Result<Page<MessageView>> {
        ask!(self, of Some(tenant), read::messages::list, (tenant, session), chat, &page)
    }

    async fn chats(
        &self,
        tenant: TenantId,
        session: Option<SessionId>,
        page: PageRequest,
    ) -> Result<Page<ChatView>> {
        ask!(self, of Some(tenant), read::chats::list, tenant, session, &page)
    }

    async fn events(
        &self,
        shard: Shard,
        filter: &EventFilter,
        after: Position,
        limit: usize,
    ) -> Result<(Vec<Event>, Position)> {
        ask!(self, of filter.tenant, read::events::filtered, shard, filter, (after, limit))
    }

    async fn log_after(&self, shard: Shard, log: Log, after: Position, limit: usize) -> Result<Vec<Entry>> {
        ask!(self, read::events::after, (shard, log), after, limit)
    }

    async fn head(&self, shard: Shard, log: Log) -> Result<LogHead> {
        ask!(self, read::events::head, shard, log)
    }

    async fn group(&self, shard: Shard, log: Log, group: &str) -> Result<GroupState> {
        ask!(self, read::groups::state, shard, log, group)
    }

    async fn redriving(&self, shard: Shard, log: Log, group: &str, limit: usize) -> Result<Vec<Redriving>> {
        ask!(self, read::groups::redriving, (shard, log), group, limit)
    }

    async fn dead_letters(
        &self,
        tenant: TenantId,
        state: Option<&str>,
        page: PageRequest,
    ) -> Result<Page<DeadLetterView>> {
        ask!(self, of Some(tenant), read::groups::dead_letters, tenant, state, &page)
    }

    async fn creds(&self, session: SessionId) -> Result<Option<Vec<u8>>> {
        ask!(self, read::auth::creds, session)
    }

    async fn auth(&self, session: SessionId, kind: &str, key: &str) -> Result<Option<(Vec<u8>, i64)>> {
        ask!(self, read::auth::one, session, kind, key)
    }

    async fn auth_many(
        &self,
        session: SessionId,
        kind: &str,
        keys: &[String],
    ) -> Result<Vec<(String, Vec<u8>, i64)>> {
        ask!(self, read::auth::many, session, kind, keys)
    }

    async fn auth_prefix(
        &self,
        session: SessionId,
        kind: &str,
        prefix: &str,
    ) -> Result<Vec<(String, Vec<u8>, i64)>> {
        ask!(self, read::auth::prefix, session, kind, prefix)
    }

    async fn cluster(&self) -> Result<Cluster> {
        ask!(self, read::cluster::cluster)
    }

    async fn probe(&self) -> Result<()> {
        ask!(self, probe)
    }

    async fn close(&self) {
        self.writers.close().await;
        self.readers.close().await;
    }
}

async fn probe(conn: &mut PgConnection) -> Result<()> {
    execute(conn, PROBE, Cells::new().int(now().0)).await.map(drop)
}
