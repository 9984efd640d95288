//! The questions about tenants, people, logins, keys and the audit log; each is one call of the store.

use super::archive::Queries;
use crate::domain::error::Result;
use crate::domain::identity::{
    ApiKeyView, AuditFilter, AuditView, KeyView, Login, MailAddress, OneTime, SigningKey, TenantView, User,
    UserFilter, UserView,
};
use crate::domain::ids::{KeyId, LoginId, OneTimeId, TenantId, UserId};
use crate::domain::view::{Page, PageRequest};

impl Queries {
    /// One tenant.
    ///
    /// # Errors
    /// As for [`Queries::ask`]; so are all below.
    pub async fn tenant(&self, tenant: TenantId) -> Result<Option<TenantView>> {
        self.ask(move |store| async move { store.tenant(tenant).await }).await
    }

    /// All tenants, oldest first: for the operator.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn tenants(&self, page: PageRequest) -> Result<Page<TenantView>> {
        self.ask(move |store| async move { store.tenants(page).await }).await
    }

    /// Who logs in with this mail address, of whatever tenant.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn user_by_mail(&self, mail: MailAddress) -> Result<Option<User>> {
        self.ask(move |store| async move { store.user_by_mail(&mail).await }).await
    }

    /// One person of a tenant.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn user(&self, tenant: TenantId, user: UserId) -> Result<Option<User>> {
        self.ask(move |store| async move { store.user(tenant, user).await }).await
    }

    /// People of a tenant, oldest first.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn users(
        &self,
        tenant: TenantId,
        filter: UserFilter,
        page: PageRequest,
    ) -> Result<Page<UserView>> {
        self.ask(move |store| async move { store.users(tenant, filter, page).await }).await
    }

    /// The one-time token with this SHA-256, good or not.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn one_time(&self, hash: [u8; 32]) -> Result<Option<OneTime>> {
        self.ask(move |store| async move { store.one_time(&hash).await }).await
    }

    /// One one-time token of a tenant, good or not.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn one_time_of(&self, tenant: TenantId, token: OneTimeId) -> Result<Option<OneTime>> {
        self.ask(move |store| async move { store.one_time_of(tenant, token).await }).await
    }

    /// One login of somebody, ended or not.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn login(&self, tenant: TenantId, user: UserId, login: LoginId) -> Result<Option<Login>> {
        self.ask(move |store| async move { store.login(tenant, user, login).await }).await
    }

    /// Logins of somebody that have not been ended, newest first.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn logins(&self, tenant: TenantId, user: UserId, page: PageRequest) -> Result<Page<Login>> {
        self.ask(move |store| async move { store.logins(tenant, user, page).await }).await
    }

    /// The API key with this SHA-256, good or not.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn key(&self, hash: [u8; 32]) -> Result<Option<KeyView>> {
        self.ask(move |store| async move { store.key(&hash).await }).await
    }

    /// How many API keys a tenant has ever had.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn keys(&self, tenant: TenantId) -> Result<i64> {
        self.ask(move |store| async move { store.keys(tenant).await }).await
    }

    /// One API key of a tenant.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn api_key(&self, tenant: TenantId, key: KeyId) -> Result<Option<ApiKeyView>> {
        self.ask(move |store| async move { store.api_key(tenant, key).await }).await
    }

    /// API keys of a tenant, oldest first.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn api_keys(&self, tenant: TenantId, page: PageRequest) -> Result<Page<ApiKeyView>> {
        self.ask(move |store| async move { store.api_keys(tenant, page).await }).await
    }

    /// The keys that access tokens are signed with, newest first.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn signing_keys(&self) -> Result<Vec<SigningKey>> {
        self.ask(move |store| async move { store.signing_keys().await }).await
    }

    /// Entries of a tenant's audit log, newest first.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn audit_log(
        &self,
        tenant: TenantId,
        filter: AuditFilter,
        page: PageRequest,
    ) -> Result<Page<AuditView>> {
        self.ask(move |store| async move { store.audit_log(tenant, &filter, page).await }).await
    }
}
