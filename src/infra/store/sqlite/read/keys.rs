//! API keys.

use sqlx::sqlite::SqlitePool;

use crate::domain::error::Result;
use crate::domain::ids::{KeyId, TenantId};
use crate::domain::view::KeyView;
use crate::infra::store::columns::Columns;
use crate::infra::store::sqlite::sql::row;

/// The key with this hash.
pub(in crate::infra::store::sqlite) async fn key(
    pool: &SqlitePool,
    hash: &[u8; 32],
) -> Result<Option<KeyView>> {
    let found = row(pool, "select tenant_id, id from api_keys where hash = ?", |cells| {
        cells.blob(hash);
    })
    .await?;
    found.map(|row| Ok(KeyView { tenant: TenantId(row.id(0)?), id: KeyId(row.id(1)?) })).transpose()
}

/// How many keys a tenant has.
pub(in crate::infra::store::sqlite) async fn count(pool: &SqlitePool, tenant: TenantId) -> Result<i64> {
    let counted = row(pool, "select count(*) from api_keys where tenant_id = ?", |cells| {
        cells.id(tenant.0);
    })
    .await?;
    counted.map_or(Ok(0), |row| row.int(0))
}
