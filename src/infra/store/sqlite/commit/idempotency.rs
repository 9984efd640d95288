//! Idempotency keys as rows.

use super::Tx;
use crate::domain::error::Result;
use crate::infra::store::batch::idempotency::Name;
use crate::infra::store::columns::Columns;
use crate::infra::store::sqlite::statement::{each, fetch};

pub(super) const LOAD: &str =
    "select tenant_id, key, fingerprint, response from idempotency where tenant_id = ? and key = ?";
const SAVE: &str =
    "insert into idempotency (tenant_id, key, fingerprint, response, created_at) values (?, ?, ?, ?, ?)";

/// Reads the answers that keys have already.
pub(super) fn load(tx: &mut Tx<'_>, names: &[Name]) -> Result<()> {
    let rows = fetch(tx.conn, LOAD, names, |(tenant, key), cells| {
        cells.id(*tenant).text(key);
    });
    for row in rows? {
        let name = (row.id(0)?, row.text(1)?.to_owned());
        tx.batch.stored.know(name, row.blob(2)?, row.text(3)?)?;
    }
    Ok(())
}

/// Writes the keys used for the first time.
pub(super) fn flush(tx: &mut Tx<'_>) -> Result<()> {
    each(tx.conn, SAVE, &tx.batch.stored.new_keys(), |new, cells| {
        cells.id(new.tenant).text(&new.key).blob(&new.fingerprint).text(&new.response).int(new.at.0);
    })
    .map(drop)
}
