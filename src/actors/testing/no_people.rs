//! People, whom the model does not have: nothing that is tested with it asks for them.

use async_trait::async_trait;

use super::model::{Model, absent};
use crate::domain::error::Result;
use crate::domain::identity::{
    ApiKeyView, AuditFilter, AuditView, KeyView, Login, MailAddress, OneTime, SigningKey, TenantView, User,
    UserFilter, UserView,
};
use crate::domain::ids::{KeyId, LoginId, OneTimeId, TenantId, UserId};
use crate::domain::view::{Page, PageRequest};
use crate::infra::store::People;

#[async_trait]
impl People for Model {
    async fn tenant(&self, _tenant: TenantId) -> Result<Option<TenantView>> {
        absent()
    }

    async fn tenants(&self, _page: PageRequest) -> Result<Page<TenantView>> {
        absent()
    }

    async fn user_by_mail(&self, _mail: &MailAddress) -> Result<Option<User>> {
        absent()
    }

    async fn user(&self, _tenant: TenantId, _user: UserId) -> Result<Option<User>> {
        absent()
    }

    async fn users(
        &self,
        _tenant: TenantId,
        _filter: UserFilter,
        _page: PageRequest,
    ) -> Result<Page<UserView>> {
        absent()
    }

    async fn one_time(&self, _hash: &[u8; 32]) -> Result<Option<OneTime>> {
        absent()
    }

    async fn one_time_of(&self, _tenant: TenantId, _token: OneTimeId) -> Result<Option<OneTime>> {
        absent()
    }

    async fn login(&self, _tenant: TenantId, _user: UserId, _login: LoginId) -> Result<Option<Login>> {
        absent()
    }

    async fn logins(&self, _tenant: TenantId, _user: UserId, _page: PageRequest) -> Result<Page<Login>> {
        absent()
    }

    async fn key(&self, _hash: &[u8; 32]) -> Result<Option<KeyView>> {
        absent()
    }

    async fn keys(&self, _tenant: TenantId) -> Result<i64> {
        absent()
    }

    async fn api_key(&self, _tenant: TenantId, _key: KeyId) -> Result<Option<ApiKeyView>> {
        absent()
    }

    async fn api_keys(&self, _tenant: TenantId, _page: PageRequest) -> Result<Page<ApiKeyView>> {
        absent()
    }

    async fn signing_keys(&self) -> Result<Vec<SigningKey>> {
        absent()
    }

    async fn audit_log(
        &self,
        _tenant: TenantId,
        _filter: &AuditFilter,
        _page: PageRequest,
    ) -> Result<Page<AuditView>> {
        absent()
    }
}
