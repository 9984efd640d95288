//! Idempotency keys as rows.

use super::Tx;
use crate::domain::error::Result;
use crate::infra::store::batch::idempotency::Name;
use crate::infra::store::columns::Columns;
use crate::infra::store::postgres::sql::{Cells, execute, rows};

const LOAD: &str = "select i.tenant_id, i.key, i.fingerprint, i.response from unnest($1::uuid[], $2::text[]) \
    v(tenant_id, key) join idempotency i on i.tenant_id = v.tenant_id and i.key = v.key";
/// In one order, so that two batches with the same keys do not wait for each other in a circle.
const SAVE: &str = "insert into idempotency (tenant_id, key, fingerprint, response, created_at) \
    select * from unnest($1::uuid[], $2::text[], $3::bytea[], $4::text[], $5::bigint[]) order by 1, 2";

/// Reads the answers that keys have already.
pub(super) async fn load(tx: &mut Tx<'_>, names: &[Name]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let cells = Cells::new()
        .ids(names.iter().map(|(tenant, _)| *tenant))
        .texts(names.iter().map(|(_, key)| key.as_str()));
    for row in rows(tx.conn, LOAD, cells).await? {
        let name = (row.id(0)?, row.text(1)?.to_owned());
        tx.batch.stored.know(name, row.blob(2)?, row.text(3)?)?;
    }
    Ok(())
}

/// Writes the keys used for the first time.
pub(super) async fn flush(tx: &mut Tx<'_>) -> Result<()> {
    let new = tx.batch.stored.new_keys();
    if new.is_empty() {
        return Ok(());
    }
    let cells = Cells::new()
        .ids(new.iter().map(|key| key.tenant))
        .texts(new.iter().map(|key| key.key.as_str()))
        .blobs(new.iter().map(|key| key.fingerprint.as_slice()))
        .texts(new.iter().map(|key| key.response.as_str()))
        .ints(new.iter().map(|key| key.at.0));
    execute(tx.conn, SAVE, cells).await.map(drop)
}
