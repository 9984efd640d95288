//! API keys and signing keys.

use sqlx::postgres::PgConnection;

use crate::domain::error::Result;
use crate::domain::identity::{ApiKeyView, KeyView, SigningKey};
use crate::domain::ids::{KeyId, TenantId};
use crate::domain::view::{Page, PageRequest};
use crate::infra::store::columns::Columns;
use crate::infra::store::paging::{cut, id_mark, wanted};
use crate::infra::store::postgres::sql::{Cells, row, rows};
use crate::infra::store::views::people as views;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, name, prefix, scopes, sessions, created_by, created_at, expires_at, last_used_at, revoked_at, \
             replaced_by, tenant_id from api_keys where ",
            $rest
        )
    };
}

const BY_HASH: &str = "select k.tenant_id, k.id, k.scopes, k.sessions, k.expires_at, k.revoked_at, \
    exists (select 1 from tenants t where t.id = k.tenant_id and t.suspended_at is not null) \
    from api_keys k where k.hash = $1";
const COUNT: &str = "select count(*) from api_keys where tenant_id = $1";
/// One key of a tenant.
pub(in crate::infra::store::postgres) const API_KEY: &str = select!("id = $1 and tenant_id = $2");
const LIST: &str = select!("tenant_id = $1 and id > $2 order by id limit $3");
const SIGNING: &str = "select id, algorithm, public, secret, created_at, retires_at from signing_keys \
    order by created_at desc, id desc limit 100";

/// The key with this hash.
pub(in crate::infra::store::postgres) async fn key(
    conn: &mut PgConnection,
    hash: &[u8; 32],
) -> Result<Option<KeyView>> {
    let found = row(conn, BY_HASH, Cells::new().blob(hash));
    found.await?.as_ref().map(views::key).transpose()
}

/// How many keys a tenant has ever had.
pub(in crate::infra::store::postgres) async fn count(
    conn: &mut PgConnection,
    tenant: TenantId,
) -> Result<i64> {
    let counted = row(conn, COUNT, Cells::new().id(tenant.0));
    counted.await?.map_or(Ok(0), |row| row.int(0))
}

/// One key of a tenant.
pub(in crate::infra::store::postgres) async fn one(
    conn: &mut PgConnection,
    tenant: TenantId,
    key: KeyId,
) -> Result<Option<ApiKeyView>> {
    let found = row(conn, API_KEY, Cells::new().id(key.0).id(tenant.0));
    found.await?.as_ref().map(views::api_key).transpose()
}

/// Keys of a tenant, oldest first.
pub(in crate::infra::store::postgres) async fn list(
    conn: &mut PgConnection,
    tenant: TenantId,
    page: &PageRequest,
) -> Result<Page<ApiKeyView>> {
    let after = id_mark(page)?.unwrap_or_default();
    let found = rows(conn, LIST, Cells::new().id(tenant.0).id(after).int(wanted(page)));
    let views = found.await?.iter().map(views::api_key).collect::<Result<Vec<_>>>()?;
    Ok(cut(views, page, |view| view.key_id.to_string()))
}

/// Signing keys, newest first.
pub(in crate::infra::store::postgres) async fn signing(conn: &mut PgConnection) -> Result<Vec<SigningKey>> {
    rows(conn, SIGNING, Cells::new()).await?.iter().map(views::signing_key).collect()
}
