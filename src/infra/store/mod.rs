//! The tables: one port, one method = one transaction. SQL lives only below this folder.
//!
//! What every adapter promises (the contract suite `tests/suite/store.rs` proves it on each):
//! * [`Store::commit`] applies a batch in one durable transaction. A write that is refused (`Fenced`, `Conflict`,
//!   `NotFound`, `Busy`) changes nothing and spoils no other; an `Err` of the whole call means nothing was applied,
//!   and the caller may replay the batch one write at a time.
//! * Per session and log, `seq` is 1, 2, 3… in commit order; per shard and log, positions are gapless.
//! * A stale [`Fence`](crate::domain::ids::Fence) changes nothing.
//! * Every read of a tenant's rows takes the tenant.

pub mod backup;
mod batch;
mod columns;
mod history;
mod paging;
mod people;
pub mod postgres;
pub mod sqlite;
mod views;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::cluster::Cluster;
use crate::domain::error::Result;
use crate::domain::event::{Entry, Event, Log};
use crate::domain::ids::{MessageId, Position, SessionId, Shard, TenantId, WaId};
use crate::domain::pacing::History;
use crate::domain::time::Timestamp;
use crate::domain::view::{
    ChatView, DeadLetterView, EventFilter, GroupState, LogHead, MessageView, Page, PageRequest, Redriving,
    SessionView, Transition,
};
use crate::domain::write::{Outcome, Write};
pub use people::People;

/// A node that said nothing for this long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// An API key's use is written down at most this often.
const TOUCHED_EVERY: Duration = Duration::from_secs(60);

/// What a batch answered: one answer per write, in order.
pub type Answers = Vec<Result<Outcome>>;

/// The tables.
#[async_trait]
pub trait Store: People {
    /// Applies a batch in one transaction.
    async fn commit(&self, batch: Arc<[Write]>) -> Result<Answers>;

    /// Whether accepted messages go a shorter way when nothing else but what was handled is in their batch.
    fn accepts_apart(&self) -> bool {
        false
    }

    /// One session of a tenant; deleted ones are not found.
    async fn session(&self, tenant: TenantId, session: SessionId) -> Result<Option<SessionView>>;
    /// One session for its owner, whoever's it is.
    async fn owned_session(&self, session: SessionId) -> Result<Option<SessionView>>;
    /// Sessions of a tenant, oldest first.
    async fn sessions(&self, tenant: TenantId, page: PageRequest) -> Result<Page<SessionView>>;
    /// Sessions of a shard that need an actor: those that want a link, and those with unfinished lifecycle commands.
    async fn sessions_to_run(
        &self,
        shard: Shard,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionId>>;
    /// Sessions of a shard with work that waits since before `before`: queued lifecycle commands, or queued messages
    /// of a connected session. What a lost wake-up forgot.
    async fn sessions_behind(&self, shard: Shard, before: Timestamp, limit: usize) -> Result<Vec<SessionId>>;
    /// The last 50 transitions, newest first.
    async fn timeline(&self, tenant: TenantId, session: SessionId) -> Result<Vec<Transition>>;

    /// One message of a tenant.
    async fn message(&self, tenant: TenantId, message: MessageId) -> Result<Option<MessageView>>;
    /// What a session has sent and what was refused, as pacing counts it; `None` when it is not the tenant's.
    async fn pacing(&self, tenant: TenantId, session: SessionId) -> Result<Option<History>>;
    /// Whether a message that waits is for a person with whom nothing was said yet.
    async fn begins_chat(&self, tenant: TenantId, message: MessageId) -> Result<bool>;
    /// Whether a session has a message that WhatsApp knows by this id.
    async fn has_message(&self, tenant: TenantId, session: SessionId, id: &WaId) -> Result<bool>;
    /// Messages of one chat, newest first. `chat` may be any address the chat is known by.
    async fn messages(
        &self,
        tenant: TenantId,
        session: Option<SessionId>,
        chat: &str,
        page: PageRequest,
    ) -> Result<Page<MessageView>>;
    /// Chats of a tenant, the latest first.
    async fn chats(
        &self,
        tenant: TenantId,
        session: Option<SessionId>,
        page: PageRequest,
    ) -> Result<Page<ChatView>>;

    /// Domain events of a shard above `after` that pass the filter, and the position read up to.
    async fn events(
        &self,
        shard: Shard,
        filter: &EventFilter,
        after: Position,
        limit: usize,
    ) -> Result<(Vec<Event>, Position)>;
    /// Numbered rows of a log above `after`, for the relay's replay.
    async fn log_after(&self, shard: Shard, log: Log, after: Position, limit: usize) -> Result<Vec<Entry>>;
    /// How far a log is.
    async fn head(&self, shard: Shard, log: Log) -> Result<LogHead>;

    /// Where a consumer group stands.
    async fn group(&self, shard: Shard, log: Log, group: &str) -> Result<GroupState>;
    /// Dead letters asked to be delivered to this group again.
    async fn redriving(&self, shard: Shard, log: Log, group: &str, limit: usize) -> Result<Vec<Redriving>>;
    /// Dead letters of a tenant, newest first; `state` narrows.
    async fn dead_letters(
        &self,
        tenant: TenantId,
        state: Option<&str>,
        page: PageRequest,
    ) -> Result<Page<DeadLetterView>>;

    /// The session's stored device, encrypted.
    async fn creds(&self, session: SessionId) -> Result<Option<Vec<u8>>>;
    /// One stored credential and its stamp, encrypted.
    async fn auth(&self, session: SessionId, kind: &str, key: &str) -> Result<Option<(Vec<u8>, i64)>>;
    /// Several of one family; missing ones are left out.
    async fn auth_many(
        &self,
        session: SessionId,
        kind: &str,
        keys: &[String],
    ) -> Result<Vec<(String, Vec<u8>, i64)>>;
    /// All of one family whose key starts with `prefix`.
    async fn auth_prefix(
        &self,
        session: SessionId,
        kind: &str,
        prefix: &str,
    ) -> Result<Vec<(String, Vec<u8>, i64)>>;

    /// Nodes and leases, as of one moment.
    async fn cluster(&self) -> Result<Cluster>;
    /// One bounded step of the tables' own upkeep (partitions to come, partitions to drop): how much it did, and so
    /// whether to come back soon. Nothing to do where tables need none.
    async fn upkeep(&self, _at: Timestamp) -> Result<usize> {
        Ok(0)
    }

    /// Proves that the tables can be read and written.
    async fn probe(&self) -> Result<()>;
    /// Lets go of every connection.
    async fn close(&self);
}
