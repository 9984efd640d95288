//! Tables that count what is read of a session's credentials.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::domain::cluster::Cluster;
use crate::domain::error::{Error, Result};
use crate::domain::event::{Entry, Event, Log};
use crate::domain::identity::{
    ApiKeyView, AuditFilter, AuditView, KeyView, Login, MailAddress, OneTime, SigningKey, TenantView, User,
    UserFilter, UserView,
};
use crate::domain::ids::{
    KeyId, LoginId, MessageId, OneTimeId, Position, SessionId, Shard, TenantId, UserId, WaId,
};
use crate::domain::pacing::History;
use crate::domain::time::Timestamp;
use crate::domain::view::{
    ChatView, DeadLetterView, EventFilter, GroupState, LogHead, MessageView, Page, PageRequest, Redriving,
    SessionView, Transition,
};
use crate::domain::write::Write;
use crate::infra::store::sqlite::SqliteStore;
use crate::infra::store::{Answers, People, Store};

/// A store with a count of reads per family.
pub(super) struct Counted {
    store: SqliteStore,
    reads: Mutex<BTreeMap<String, usize>>,
    /// Whether nothing of a session can be read.
    pub(super) away: AtomicBool,
}

type Rows = Vec<(String, Vec<u8>, i64)>;

impl Counted {
    pub(super) fn new(store: SqliteStore) -> Self {
        Self { store, reads: Mutex::default(), away: AtomicBool::new(false) }
    }

    fn count(&self, kind: &str) {
        *self.reads.lock().unwrap().entry(kind.to_owned()).or_default() += 1;
    }

    fn there(&self) -> Result<()> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Error::unavailable("test", "the store is away"));
        }
        Ok(())
    }

    /// The reads since the last question.
    pub(super) fn reads(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut *self.reads.lock().unwrap())
    }
}

#[async_trait]
impl Store for Counted {
    async fn creds(&self, session: SessionId) -> Result<Option<Vec<u8>>> {
        self.count("creds");
        self.there()?;
        self.store.creds(session).await
    }
    async fn auth(&self, session: SessionId, kind: &str, key: &str) -> Result<Option<(Vec<u8>, i64)>> {
        self.count(kind);
        self.there()?;
        self.store.auth(session, kind, key).await
    }
    async fn auth_many(&self, session: SessionId, kind: &str, keys: &[String]) -> Result<Rows> {
        self.count(kind);
        self.there()?;
        self.store.auth_many(session, kind, keys).await
    }
    async fn auth_prefix(&self, session: SessionId, kind: &str, prefix: &str) -> Result<Rows> {
        self.count(kind);
        self.there()?;
        self.store.auth_prefix(session, kind, prefix).await
    }

    // The rest is passed on.
    async fn commit(&self, batch: Arc<[Write]>) -> Result<Answers> {
        self.store.commit(batch).await
    }
    async fn session(&self, tenant: TenantId, session: SessionId) -> Result<Option<SessionView>> {
        self.store.session(tenant, session).await
    }
    async fn owned_session(&self, session: SessionId) -> Result<Option<SessionView>> {
        self.store.owned_session(session).await
    }
    async fn sessions(&self, tenant: TenantId, page: PageRequest) -> Result<Page<SessionView>> {
        self.store.sessions(tenant, page).await
    }
    async fn sessions_to_run(
        &self,
        shard: Shard,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionId>> {
        self.store.sessions_to_run(shard, after, limit).await
    }
    async fn sessions_behind(&self, shard: Shard, before: Timestamp, limit: usize) -> Result<Vec<SessionId>> {
        self.store.sessions_behind(shard, before, limit).await
    }
    async fn timeline(&self, tenant: TenantId, session: SessionId) -> Result<Vec<Transition>> {
        self.store.timeline(tenant, session).await
    }
    async fn message(&self, tenant: TenantId, message: MessageId) -> Result<Option<MessageView>> {
        self.store.message(tenant, message).await
    }
    async fn messages(
        &self,
        tenant: TenantId,
        session: Option<SessionId>,
        chat: &str,
        page: PageRequest,
    ) -> Result<Page<MessageView>> {
        self.store.messages(tenant, session, chat, page).await
    }
    async fn pacing(&self, tenant: TenantId, session: SessionId) -> Result<Option<History>> {
        self.store.pacing(tenant, session).await
    }
    async fn has_message(&self, tenant: TenantId, session: SessionId, id: &WaId) -> Result<bool> {
        self.store.has_message(tenant, session, id).await
    }

    async fn begins_chat(&self, tenant: TenantId, message: MessageId) -> Result<bool> {
        self.store.begins_chat(tenant, message).await
    }
    async fn chats(
        &self,
        tenant: TenantId,
        session: Option<SessionId>,
        page: PageRequest,
    ) -> Result<Page<ChatView>> {
        self.store.chats(tenant, session, page).await
    }
    async fn events(
        &self,
        shard: Shard,
        filter: &EventFilter,
        after: Position,
        limit: usize,
    ) -> Result<(Vec<Event>, Position)> {
        self.store.events(shard, filter, after, limit).await
    }
    async fn log_after(&self, shard: Shard, log: Log, after: Position, limit: usize) -> Result<Vec<Entry>> {
        self.store.log_after(shard, log, after, limit).await
    }
    async fn head(&self, shard: Shard, log: Log) -> Result<LogHead> {
        self.store.head(shard, log).await
    }
    async fn group(&self, shard: Shard, log: Log, group: &str) -> Result<GroupState> {
        self.store.group(shard, log, group).await
    }
    async fn redriving(&self, shard: Shard, log: Log, group: &str, limit: usize) -> Result<Vec<Redriving>> {
        self.store.redriving(shard, log, group, limit).await
    }
    async fn dead_letters(
        &self,
        tenant: TenantId,
        state: Option<&str>,
        page: PageRequest,
    ) -> Result<Page<DeadLetterView>> {
        self.store.dead_letters(tenant, state, page).await
    }
    async fn cluster(&self) -> Result<Cluster> {
        self.store.cluster().await
    }
    async fn probe(&self) -> Result<()> {
        self.store.probe().await
    }
    async fn close(&self) {
        self.store.close().await;
    }
}

#[async_trait]
impl People for Counted {
    async fn tenant(&self, tenant: TenantId) -> Result<Option<TenantView>> {
        self.store.tenant(tenant).await
    }

    async fn tenants(&self, page: PageRequest) -> Result<Page<TenantView>> {
        self.store.tenants(page).await
    }

    async fn user_by_mail(&self, mail: &MailAddress) -> Result<Option<User>> {
        self.store.user_by_mail(mail).await
    }

    async fn user(&self, tenant: TenantId, user: UserId) -> Result<Option<User>> {
        self.store.user(tenant, user).await
    }

    async fn users(&self, tenant: TenantId, filter: UserFilter, page: PageRequest) -> Result<Page<UserView>> {
        self.store.users(tenant, filter, page).await
    }

    async fn one_time(&self, hash: &[u8; 32]) -> Result<Option<OneTime>> {
        self.store.one_time(hash).await
    }

    async fn one_time_of(&self, tenant: TenantId, token: OneTimeId) -> Result<Option<OneTime>> {
        self.store.one_time_of(tenant, token).await
    }

    async fn login(&self, tenant: TenantId, user: UserId, login: LoginId) -> Result<Option<Login>> {
        self.store.login(tenant, user, login).await
    }

    async fn logins(&self, tenant: TenantId, user: UserId, page: PageRequest) -> Result<Page<Login>> {
        self.store.logins(tenant, user, page).await
    }

    async fn key(&self, hash: &[u8; 32]) -> Result<Option<KeyView>> {
        self.store.key(hash).await
    }

    async fn keys(&self, tenant: TenantId) -> Result<i64> {
        self.store.keys(tenant).await
    }

    async fn api_key(&self, tenant: TenantId, key: KeyId) -> Result<Option<ApiKeyView>> {
        self.store.api_key(tenant, key).await
    }

    async fn api_keys(&self, tenant: TenantId, page: PageRequest) -> Result<Page<ApiKeyView>> {
        self.store.api_keys(tenant, page).await
    }

    async fn signing_keys(&self) -> Result<Vec<SigningKey>> {
        self.store.signing_keys().await
    }

    async fn audit_log(
        &self,
        tenant: TenantId,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Page<AuditView>> {
        self.store.audit_log(tenant, filter, page).await
    }
}
