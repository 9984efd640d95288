//! API keys.

use sqlx::postgres::PgConnection;

use crate::domain::error::Result;
use crate::domain::ids::{KeyId, TenantId};
use crate::domain::view::KeyView;
use crate::infra::store::columns::Columns;
use crate::infra::store::postgres::sql::{Cells, row};

/// The key with this hash.
pub(in crate::infra::store::postgres) async fn key(
    conn: &mut PgConnection,
    hash: &[u8; 32],
) -> Result<Option<KeyView>> {
    let found =
        row(conn, "select tenant_id, id from api_keys where hash = $1", Cells::new().blob(hash)).await?;
    found.map(|row| Ok(KeyView { tenant: TenantId(row.id(0)?), id: KeyId(row.id(1)?) })).transpose()
}

/// How many keys a tenant has.
pub(in crate::infra::store::postgres) async fn count(
    conn: &mut PgConnection,
    tenant: TenantId,
) -> Result<i64> {
    let counted =
        row(conn, "select count(*) from api_keys where tenant_id = $1", Cells::new().id(tenant.0)).await?;
    counted.map_or(Ok(0), |row| row.int(0))
}
