//! The questions that can be asked, by name; each is one call of the store, run by the archive.

use super::archive::Queries;
use crate::domain::cluster::Cluster;
use crate::domain::error::Result;
use crate::domain::event::{Event, Log};
use crate::domain::ids::{MessageId, Position, SessionId, Shard, TenantId};
use crate::domain::pacing::History;
use crate::domain::view::{
    ChatView, DeadLetterView, EventFilter, LogHead, MessageView, Page, PageRequest, SessionView, Transition,
};

impl Queries {
    /// One session of a tenant.
    ///
    /// # Errors
    /// As for [`Queries::ask`]; so are all below.
    pub async fn session(&self, tenant: TenantId, session: SessionId) -> Result<Option<SessionView>> {
        self.ask(move |store| async move { store.session(tenant, session).await }).await
    }

    /// Sessions of a tenant, oldest first.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn sessions(&self, tenant: TenantId, page: PageRequest) -> Result<Page<SessionView>> {
        self.ask(move |store| async move { store.sessions(tenant, page).await }).await
    }

    /// The last transitions of a session, newest first.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn timeline(&self, tenant: TenantId, session: SessionId) -> Result<Vec<Transition>> {
        self.ask(move |store| async move { store.timeline(tenant, session).await }).await
    }

    /// One message of a tenant.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn message(&self, tenant: TenantId, message: MessageId) -> Result<Option<MessageView>> {
        self.ask(move |store| async move { store.message(tenant, message).await }).await
    }

    /// What a session has sent and what was refused.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn pacing(&self, tenant: TenantId, session: SessionId) -> Result<Option<History>> {
        self.ask(move |store| async move { store.pacing(tenant, session).await }).await
    }

    /// Whether a message that waits is for a person with whom nothing was said yet.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn begins_chat(&self, tenant: TenantId, message: MessageId) -> Result<bool> {
        self.ask(move |store| async move { store.begins_chat(tenant, message).await }).await
    }

    /// Messages of one chat, newest first.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn messages(
        &self,
        tenant: TenantId,
        session: Option<SessionId>,
        chat: String,
        page: PageRequest,
    ) -> Result<Page<MessageView>> {
        self.ask(move |store| async move { store.messages(tenant, session, &chat, page).await }).await
    }

    /// Chats of a tenant, the latest first.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn chats(
        &self,
        tenant: TenantId,
        session: Option<SessionId>,
        page: PageRequest,
    ) -> Result<Page<ChatView>> {
        self.ask(move |store| async move { store.chats(tenant, session, page).await }).await
    }

    /// Domain events above `after` that pass the filter, and the position read up to.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn events(
        &self,
        shard: Shard,
        filter: EventFilter,
        after: Position,
        limit: usize,
    ) -> Result<(Vec<Event>, Position)> {
        self.ask(move |store| async move { store.events(shard, &filter, after, limit).await }).await
    }

    /// How far a log is.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn head(&self, shard: Shard, log: Log) -> Result<LogHead> {
        self.ask(move |store| async move { store.head(shard, log).await }).await
    }

    /// Dead letters of a tenant, newest first.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn dead_letters(
        &self,
        tenant: TenantId,
        state: Option<String>,
        page: PageRequest,
    ) -> Result<Page<DeadLetterView>> {
        self.ask(move |store| async move { store.dead_letters(tenant, state.as_deref(), page).await }).await
    }

    /// Nodes and leases, as of one moment.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn cluster(&self) -> Result<Cluster> {
        self.ask(move |store| async move { store.cluster().await }).await
    }

    /// Proves that the tables can be read and written.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn probe(&self) -> Result<()> {
        self.ask(move |store| async move { store.probe().await }).await
    }
}
