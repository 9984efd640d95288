//! Tenants, people, logins, keys and the audit log, as they are read.
//!
//! Promises: every read of a tenant's rows takes the tenant, and finds nothing of another. What takes none proves whose it
//! is by a secret (a key's or token's hash, the mail address somebody logs in with), or is the operator's.

use async_trait::async_trait;

use crate::domain::error::Result;
use crate::domain::identity::{
    ApiKeyView, AuditFilter, AuditView, KeyView, Login, MailAddress, OneTime, SigningKey, TenantView, User,
    UserFilter, UserView,
};
use crate::domain::ids::{KeyId, LoginId, OneTimeId, TenantId, UserId};
use crate::domain::view::{Page, PageRequest};

/// The tables of people.
#[async_trait]
pub trait People: Send + Sync + 'static {
    /// One tenant.
    async fn tenant(&self, tenant: TenantId) -> Result<Option<TenantView>>;
    /// All tenants, oldest first: for the operator.
    async fn tenants(&self, page: PageRequest) -> Result<Page<TenantView>>;

    /// Who logs in with this mail address, of whatever tenant; the deleted have none.
    async fn user_by_mail(&self, mail: &MailAddress) -> Result<Option<User>>;
    /// One person of a tenant, deleted or not.
    async fn user(&self, tenant: TenantId, user: UserId) -> Result<Option<User>>;
    /// People of a tenant, oldest first.
    async fn users(&self, tenant: TenantId, filter: UserFilter, page: PageRequest) -> Result<Page<UserView>>;

    /// The one-time token with this SHA-256, good or not.
    async fn one_time(&self, hash: &[u8; 32]) -> Result<Option<OneTime>>;
    /// One one-time token of a tenant, good or not.
    async fn one_time_of(&self, tenant: TenantId, token: OneTimeId) -> Result<Option<OneTime>>;

    /// One login of somebody, ended or not.
    async fn login(&self, tenant: TenantId, user: UserId, login: LoginId) -> Result<Option<Login>>;
    /// Logins of somebody that have not been ended, newest first.
    async fn logins(&self, tenant: TenantId, user: UserId, page: PageRequest) -> Result<Page<Login>>;

    /// The API key with this SHA-256, good or not.
    async fn key(&self, hash: &[u8; 32]) -> Result<Option<KeyView>>;
    /// How many API keys a tenant has ever had.
    async fn keys(&self, tenant: TenantId) -> Result<i64>;
    /// One API key of a tenant.
    async fn api_key(&self, tenant: TenantId, key: KeyId) -> Result<Option<ApiKeyView>>;
    /// API keys of a tenant, oldest first.
    async fn api_keys(&self, tenant: TenantId, page: PageRequest) -> Result<Page<ApiKeyView>>;
    /// The keys that access tokens are signed with, newest first.
    async fn signing_keys(&self) -> Result<Vec<SigningKey>>;

    /// Entries of a tenant's audit log, newest first.
    async fn audit_log(
        &self,
        tenant: TenantId,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Page<AuditView>>;
}
