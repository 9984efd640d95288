//! Logins.

use sqlx::postgres::PgConnection;

use crate::domain::error::Result;
use crate::domain::identity::Login;
use crate::domain::ids::{LoginId, TenantId, UserId};
use crate::domain::view::{Page, PageRequest};
use crate::infra::store::paging::{before_mark, cut, wanted};
use crate::infra::store::postgres::sql::{Cells, row, rows};
use crate::infra::store::views::people as views;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, tenant_id, user_id, generation, user_agent, created_at, last_used_at, expires_at, revoked_at, \
             revoked_reason from logins where ",
            $rest
        )
    };
}

/// One login of somebody.
pub(in crate::infra::store::postgres) const LOGIN: &str =
    select!("id = $1 and tenant_id = $2 and user_id = $3");
const LIST: &str =
    select!("user_id = $2 and tenant_id = $1 and id < $3 and revoked_at is null order by id desc limit $4");

/// One login of somebody.
pub(in crate::infra::store::postgres) async fn one(
    conn: &mut PgConnection,
    (tenant, user): (TenantId, UserId),
    login: LoginId,
) -> Result<Option<Login>> {
    let found = row(conn, LOGIN, Cells::new().id(login.0).id(tenant.0).id(user.0));
    found.await?.as_ref().map(views::login).transpose()
}

/// Logins of somebody that have not been ended, newest first.
pub(in crate::infra::store::postgres) async fn list(
    conn: &mut PgConnection,
    (tenant, user): (TenantId, UserId),
    page: &PageRequest,
) -> Result<Page<Login>> {
    let before = before_mark(page)?;
    let found = rows(conn, LIST, Cells::new().id(tenant.0).id(user.0).id(before).int(wanted(page)));
    let views = found.await?.iter().map(views::login).collect::<Result<Vec<_>>>()?;
    Ok(cut(views, page, |view| view.login_id.to_string()))
}
