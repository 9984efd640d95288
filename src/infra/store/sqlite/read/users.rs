//! Tenants, people and their one-time tokens.

use sqlx::sqlite::SqlitePool;

use crate::domain::error::Result;
use crate::domain::identity::{MailAddress, OneTime, TenantView, User, UserFilter, UserView};
use crate::domain::ids::{OneTimeId, TenantId, UserId};
use crate::domain::view::{Page, PageRequest};
use crate::infra::store::paging::{cut, id_mark, wanted};
use crate::infra::store::sqlite::sql::{row, rows};
use crate::infra::store::views::people as views;

macro_rules! users {
    ($rest:literal) => {
        concat!(
            "select id, tenant_id, mail, name, role, state, password, locale, pending_mail, failures, locked_until, \
             tokens_after, version, verified_at, created_at, updated_at, deleted_at from users where ",
            $rest
        )
    };
}

macro_rules! tokens {
    ($rest:literal) => {
        concat!(
            "select id, tenant_id, user_id, purpose, mail, expires_at, used_at, created_at from one_time_tokens where ",
            $rest
        )
    };
}

const TENANT: &str = "select id, name, created_at, suspended_at from tenants where id = ?";
const TENANTS: &str =
    "select id, name, created_at, suspended_at from tenants where id > ? order by id limit ?";
/// Of whatever tenant: for the writer, who judges whose it is.
pub(in crate::infra::store::sqlite) const USER: &str = users!("id = ?");
/// Of whatever tenant: for the writer, who judges whose it is.
pub(in crate::infra::store::sqlite) const ONE_TIME: &str = tokens!("id = ?");
const OF_TENANT: &str = users!("id = ? and tenant_id = ?");
const BY_MAIL: &str = users!("mail = ? and deleted_at is null");
const LIST: &str = users!(
    "tenant_id = ?1 and id > ?2 and (state = ?3 or (?3 is null and deleted_at is null)) \
     and (?4 is null or role = ?4) order by id limit ?5"
);
const BY_HASH: &str = tokens!("hash = ?");
const TOKEN_OF_TENANT: &str = tokens!("id = ? and tenant_id = ?");

/// One tenant.
pub(in crate::infra::store::sqlite) async fn tenant(
    pool: &SqlitePool,
    tenant: TenantId,
) -> Result<Option<TenantView>> {
    let found = row(pool, TENANT, |cells| {
        cells.id(tenant.0);
    });
    found.await?.as_ref().map(views::tenant).transpose()
}

/// All tenants, oldest first.
pub(in crate::infra::store::sqlite) async fn tenants(
    pool: &SqlitePool,
    page: &PageRequest,
) -> Result<Page<TenantView>> {
    let after = id_mark(page)?.unwrap_or_default();
    let found = rows(pool, TENANTS, |cells| {
        cells.id(after).int(wanted(page));
    });
    let views = found.await?.iter().map(views::tenant).collect::<Result<Vec<_>>>()?;
    Ok(cut(views, page, |view| view.tenant_id.to_string()))
}

/// Who logs in with this address.
pub(in crate::infra::store::sqlite) async fn by_mail(
    pool: &SqlitePool,
    mail: &MailAddress,
) -> Result<Option<User>> {
    let found = row(pool, BY_MAIL, |cells| {
        cells.text(mail.as_str());
    });
    found.await?.as_ref().map(views::user).transpose()
}

/// One person of a tenant.
pub(in crate::infra::store::sqlite) async fn one(
    pool: &SqlitePool,
    tenant: TenantId,
    user: UserId,
) -> Result<Option<User>> {
    let found = row(pool, OF_TENANT, |cells| {
        cells.id(user.0).id(tenant.0);
    });
    found.await?.as_ref().map(views::user).transpose()
}

/// People of a tenant, oldest first.
pub(in crate::infra::store::sqlite) async fn list(
    pool: &SqlitePool,
    tenant: TenantId,
    filter: UserFilter,
    page: &PageRequest,
) -> Result<Page<UserView>> {
    let after = id_mark(page)?.unwrap_or_default();
    let found = rows(pool, LIST, |cells| {
        cells.id(tenant.0).id(after).opt_text(filter.state.map(|state| state.as_str()));
        cells.opt_text(filter.role.map(|role| role.as_str())).int(wanted(page));
    });
    let found = found.await?;
    let views = found.iter().map(|row| views::user(row).map(UserView::from)).collect::<Result<Vec<_>>>()?;
    Ok(cut(views, page, |view| view.user_id.to_string()))
}

/// The one-time token with this hash.
pub(in crate::infra::store::sqlite) async fn one_time(
    pool: &SqlitePool,
    hash: &[u8; 32],
) -> Result<Option<OneTime>> {
    let found = row(pool, BY_HASH, |cells| {
        cells.blob(hash);
    });
    found.await?.as_ref().map(views::one_time).transpose()
}

/// One one-time token of a tenant.
pub(in crate::infra::store::sqlite) async fn one_time_of(
    pool: &SqlitePool,
    tenant: TenantId,
    token: OneTimeId,
) -> Result<Option<OneTime>> {
    let found = row(pool, TOKEN_OF_TENANT, |cells| {
        cells.id(token.0).id(tenant.0);
    });
    found.await?.as_ref().map(views::one_time).transpose()
}
