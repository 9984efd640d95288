//! Tenants, people, logins, keys and the audit log, as Postgres reads them.

use async_trait::async_trait;
use tokio::time::timeout;

use super::{GONE, PostgresStore, ask, read};
use crate::domain::error::{Error, Result};
use crate::domain::identity::{
    ApiKeyView, AuditFilter, AuditView, KeyView, Login, MailAddress, OneTime, SigningKey, TenantView, User,
    UserFilter, UserView,
};
use crate::domain::ids::{KeyId, LoginId, OneTimeId, TenantId, UserId};
use crate::domain::view::{Page, PageRequest};
use crate::infra::store::People;

#[async_trait]
impl People for PostgresStore {
    async fn tenant(&self, tenant: TenantId) -> Result<Option<TenantView>> {
        ask!(self, of Some(tenant), read::users::tenant, tenant)
    }

    async fn tenants(&self, page: PageRequest) -> Result<Page<TenantView>> {
        ask!(self, read::users::tenants, &page)
    }

    async fn user_by_mail(&self, mail: &MailAddress) -> Result<Option<User>> {
        ask!(self, read::users::by_mail, mail)
    }

    async fn user(&self, tenant: TenantId, user: UserId) -> Result<Option<User>> {
        ask!(self, of Some(tenant), read::users::one, tenant, user)
    }

    async fn users(&self, tenant: TenantId, filter: UserFilter, page: PageRequest) -> Result<Page<UserView>> {
        ask!(self, of Some(tenant), read::users::list, tenant, filter, &page)
    }

    async fn one_time(&self, hash: &[u8; 32]) -> Result<Option<OneTime>> {
        ask!(self, read::users::one_time, hash)
    }

    async fn one_time_of(&self, tenant: TenantId, token: OneTimeId) -> Result<Option<OneTime>> {
        ask!(self, of Some(tenant), read::users::one_time_of, tenant, token)
    }

    async fn login(&self, tenant: TenantId, user: UserId, login: LoginId) -> Result<Option<Login>> {
        ask!(self, of Some(tenant), read::logins::one, (tenant, user), login)
    }

    async fn logins(&self, tenant: TenantId, user: UserId, page: PageRequest) -> Result<Page<Login>> {
        ask!(self, of Some(tenant), read::logins::list, (tenant, user), &page)
    }

    async fn key(&self, hash: &[u8; 32]) -> Result<Option<KeyView>> {
        ask!(self, read::keys::key, hash)
    }

    async fn keys(&self, tenant: TenantId) -> Result<i64> {
        ask!(self, of Some(tenant), read::keys::count, tenant)
    }

    async fn api_key(&self, tenant: TenantId, key: KeyId) -> Result<Option<ApiKeyView>> {
        ask!(self, of Some(tenant), read::keys::one, tenant, key)
    }

    async fn api_keys(&self, tenant: TenantId, page: PageRequest) -> Result<Page<ApiKeyView>> {
        ask!(self, of Some(tenant), read::keys::list, tenant, &page)
    }

    async fn signing_keys(&self) -> Result<Vec<SigningKey>> {
        ask!(self, read::keys::signing)
    }

    async fn audit_log(
        &self,
        tenant: TenantId,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Page<AuditView>> {
        ask!(self, of Some(tenant), read::audit::list, tenant, filter, &page)
    }
}
