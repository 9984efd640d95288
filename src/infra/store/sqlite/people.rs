//! Tenants, people, logins, keys and the audit log, as SQLite reads them.

use async_trait::async_trait;

use super::{SqliteStore, read};
use crate::domain::error::Result;
use crate::domain::identity::{
    ApiKeyView, AuditFilter, AuditView, KeyView, Login, MailAddress, OneTime, SigningKey, TenantView, User,
    UserFilter, UserView,
};
use crate::domain::ids::{KeyId, LoginId, OneTimeId, TenantId, UserId};
use crate::domain::view::{Page, PageRequest};
use crate::infra::store::People;

#[async_trait]
impl People for SqliteStore {
    async fn tenant(&self, tenant: TenantId) -> Result<Option<TenantView>> {
        read::users::tenant(&self.readers, tenant).await
    }

    async fn tenants(&self, page: PageRequest) -> Result<Page<TenantView>> {
        read::users::tenants(&self.readers, &page).await
    }

    async fn user_by_mail(&self, mail: &MailAddress) -> Result<Option<User>> {
        read::users::by_mail(&self.readers, mail).await
    }

    async fn user(&self, tenant: TenantId, user: UserId) -> Result<Option<User>> {
        read::users::one(&self.readers, tenant, user).await
    }

    async fn users(&self, tenant: TenantId, filter: UserFilter, page: PageRequest) -> Result<Page<UserView>> {
        read::users::list(&self.readers, tenant, filter, &page).await
    }

    async fn one_time(&self, hash: &[u8; 32]) -> Result<Option<OneTime>> {
        read::users::one_time(&self.readers, hash).await
    }

    async fn one_time_of(&self, tenant: TenantId, token: OneTimeId) -> Result<Option<OneTime>> {
        read::users::one_time_of(&self.readers, tenant, token).await
    }

    async fn login(&self, tenant: TenantId, user: UserId, login: LoginId) -> Result<Option<Login>> {
        read::logins::one(&self.readers, (tenant, user), login).await
    }

    async fn logins(&self, tenant: TenantId, user: UserId, page: PageRequest) -> Result<Page<Login>> {
        read::logins::list(&self.readers, (tenant, user), &page).await
    }

    async fn key(&self, hash: &[u8; 32]) -> Result<Option<KeyView>> {
        read::keys::key(&self.readers, hash).await
    }

    async fn keys(&self, tenant: TenantId) -> Result<i64> {
        read::keys::count(&self.readers, tenant).await
    }

    async fn api_key(&self, tenant: TenantId, key: KeyId) -> Result<Option<ApiKeyView>> {
        read::keys::one(&self.readers, tenant, key).await
    }

    async fn api_keys(&self, tenant: TenantId, page: PageRequest) -> Result<Page<ApiKeyView>> {
        read::keys::list(&self.readers, tenant, &page).await
    }

    async fn signing_keys(&self) -> Result<Vec<SigningKey>> {
        read::keys::signing(&self.readers).await
    }

    async fn audit_log(
        &self,
        tenant: TenantId,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Page<AuditView>> {
        read::audit::list(&self.readers, tenant, filter, &page).await
    }
}
