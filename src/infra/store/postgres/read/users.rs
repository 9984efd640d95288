//! Tenants, people and their one-time tokens.

use sqlx::postgres::PgConnection;

use crate::domain::error::Result;
use crate::domain::identity::{MailAddress, OneTime, TenantView, User, UserFilter, UserView};
use crate::domain::ids::{OneTimeId, TenantId, UserId};
use crate::domain::view::{Page, PageRequest};
use crate::infra::store::paging::{cut, id_mark, wanted};
use crate::infra::store::postgres::sql::{Cells, row, rows};
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

const TENANT: &str = "select id, name, created_at, suspended_at from tenants where id = $1";
const TENANTS: &str =
    "select id, name, created_at, suspended_at from tenants where id > $1 order by id limit $2";
/// Of whatever tenant: for the writer, who judges whose it is.
pub(in crate::infra::store::postgres) const USER: &str = users!("id = $1");
/// Of whatever tenant: for the writer, who judges whose it is.
pub(in crate::infra::store::postgres) const ONE_TIME: &str = tokens!("id = $1");
const OF_TENANT: &str = users!("id = $1 and tenant_id = $2");
const BY_MAIL: &str = users!("mail = $1 and deleted_at is null");
const LIST: &str = users!(
    "tenant_id = $1 and id > $2 and (state = $3 or ($3 is null and deleted_at is null)) \
     and ($4 is null or role = $4) order by id limit $5"
);
const BY_HASH: &str = tokens!("hash = $1");
const TOKEN_OF_TENANT: &str = tokens!("id = $1 and tenant_id = $2");

/// One tenant.
pub(in crate::infra::store::postgres) async fn tenant(
    conn: &mut PgConnection,
    tenant: TenantId,
) -> Result<Option<TenantView>> {
    let found = row(conn, TENANT, Cells::new().id(tenant.0));
    found.await?.as_ref().map(views::tenant).transpose()
}

/// All tenants, oldest first.
pub(in crate::infra::store::postgres) async fn tenants(
    conn: &mut PgConnection,
    page: &PageRequest,
) -> Result<Page<TenantView>> {
    let after = id_mark(page)?.unwrap_or_default();
    let found = rows(conn, TENANTS, Cells::new().id(after).int(wanted(page)));
    let views = found.await?.iter().map(views::tenant).collect::<Result<Vec<_>>>()?;
    Ok(cut(views, page, |view| view.tenant_id.to_string()))
}

/// Who logs in with this address.
pub(in crate::infra::store::postgres) async fn by_mail(
    conn: &mut PgConnection,
    mail: &MailAddress,
) -> Result<Option<User>> {
    let found = row(conn, BY_MAIL, Cells::new().text(mail.as_str()));
    found.await?.as_ref().map(views::user).transpose()
}

/// One person of a tenant.
pub(in crate::infra::store::postgres) async fn one(
    conn: &mut PgConnection,
    tenant: TenantId,
    user: UserId,
) -> Result<Option<User>> {
    let found = row(conn, OF_TENANT, Cells::new().id(user.0).id(tenant.0));
    found.await?.as_ref().map(views::user).transpose()
}

/// People of a tenant, oldest first.
pub(in crate::infra::store::postgres) async fn list(
    conn: &mut PgConnection,
    tenant: TenantId,
    filter: UserFilter,
    page: &PageRequest,
) -> Result<Page<UserView>> {
    let after = id_mark(page)?.unwrap_or_default();
    let found = rows(
        conn,
        LIST,
        Cells::new()
            .id(tenant.0)
            .id(after)
            .opt_text(filter.state.map(|state| state.as_str()))
            .opt_text(filter.role.map(|role| role.as_str()))
            .int(wanted(page)),
    );
    let found = found.await?;
    let views = found.iter().map(|row| views::user(row).map(UserView::from)).collect::<Result<Vec<_>>>()?;
    Ok(cut(views, page, |view| view.user_id.to_string()))
}

/// The one-time token with this hash.
pub(in crate::infra::store::postgres) async fn one_time(
    conn: &mut PgConnection,
    hash: &[u8; 32],
) -> Result<Option<OneTime>> {
    let found = row(conn, BY_HASH, Cells::new().blob(hash));
    found.await?.as_ref().map(views::one_time).transpose()
}

/// One one-time token of a tenant.
pub(in crate::infra::store::postgres) async fn one_time_of(
    conn: &mut PgConnection,
    tenant: TenantId,
    token: OneTimeId,
) -> Result<Option<OneTime>> {
    let found = row(conn, TOKEN_OF_TENANT, Cells::new().id(token.0).id(tenant.0));
    found.await?.as_ref().map(views::one_time).transpose()
}
