//! API keys and signing keys.

use sqlx::sqlite::SqlitePool;

use crate::domain::error::Result;
use crate::domain::identity::{ApiKeyView, KeyView, SigningKey};
use crate::domain::ids::{KeyId, TenantId};
use crate::domain::view::{Page, PageRequest};
use crate::infra::store::columns::Columns;
use crate::infra::store::paging::{cut, id_mark, wanted};
use crate::infra::store::sqlite::sql::{row, rows};
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
    from api_keys k where k.hash = ?";
const COUNT: &str = "select count(*) from api_keys where tenant_id = ?";
/// One key of a tenant.
pub(in crate::infra::store::sqlite) const API_KEY: &str = select!("id = ? and tenant_id = ?");
const LIST: &str = select!("tenant_id = ? and id > ? order by id limit ?");
const SIGNING: &str = "select id, algorithm, public, secret, created_at, retires_at from signing_keys \
    order by created_at desc, id desc limit 100";

/// The key with this hash.
pub(in crate::infra::store::sqlite) async fn key(
    pool: &SqlitePool,
    hash: &[u8; 32],
) -> Result<Option<KeyView>> {
    let found = row(pool, BY_HASH, |cells| {
        cells.blob(hash);
    });
    found.await?.as_ref().map(views::key).transpose()
}

/// How many keys a tenant has ever had.
pub(in crate::infra::store::sqlite) async fn count(pool: &SqlitePool, tenant: TenantId) -> Result<i64> {
    let counted = row(pool, COUNT, |cells| {
        cells.id(tenant.0);
    });
    counted.await?.map_or(Ok(0), |row| row.int(0))
}

/// One key of a tenant.
pub(in crate::infra::store::sqlite) async fn one(
    pool: &SqlitePool,
    tenant: TenantId,
    key: KeyId,
) -> Result<Option<ApiKeyView>> {
    let found = row(pool, API_KEY, |cells| {
        cells.id(key.0).id(tenant.0);
    });
    found.await?.as_ref().map(views::api_key).transpose()
}

/// Keys of a tenant, oldest first.
pub(in crate::infra::store::sqlite) async fn list(
    pool: &SqlitePool,
    tenant: TenantId,
    page: &PageRequest,
) -> Result<Page<ApiKeyView>> {
    let after = id_mark(page)?.unwrap_or_default();
    let found = rows(pool, LIST, |cells| {
        cells.id(tenant.0).id(after).int(wanted(page));
    });
    let views = found.await?.iter().map(views::api_key).collect::<Result<Vec<_>>>()?;
    Ok(cut(views, page, |view| view.key_id.to_string()))
}

/// Signing keys, newest first.
pub(in crate::infra::store::sqlite) async fn signing(pool: &SqlitePool) -> Result<Vec<SigningKey>> {
    rows(pool, SIGNING, |_none| ()).await?.iter().map(views::signing_key).collect()
}
