//! Tenants as rows, and the counters of those whose people a batch changes.

use super::Tx;
use crate::domain::error::Result;
use crate::domain::ids::TenantId;
use crate::domain::time::Timestamp;
use crate::domain::write::Outcome;
use crate::domain::write::people::SaveTenant;
use crate::infra::store::batch::tenants::Standing;
use crate::infra::store::columns::Columns;
use crate::infra::store::sqlite::statement::{each, execute, fetch};

const MAKE: &str = "insert into tenants (id, created_at, name) values (?, ?, ?) on conflict do nothing";
pub(super) const LOAD: &str = "select id, next_event_seq, suspended_at is not null from tenants where id = ?";
pub(super) const COUNT: &str = "update tenants set next_event_seq = ?2 where id = ?1";
pub(super) const SAVE: &str = "update tenants set name = coalesce(?2, name), \
    suspended_at = case ?3 when 0 then null when 1 then coalesce(suspended_at, ?4) else suspended_at end where id = ?1";

/// Reads those that are not yet known.
pub(super) fn load(tx: &mut Tx<'_>, ids: &[TenantId]) -> Result<()> {
    let missing = tx.batch.tenants.missing(ids);
    let rows = fetch(tx.conn, LOAD, &missing, |id, cells| {
        cells.id(id.0);
    });
    for row in rows? {
        let standing = Standing { next_event: row.int(1)?, suspended: row.int(2)? != 0, changed: false };
        tx.batch.tenants.know(TenantId(row.id(0)?), standing);
    }
    Ok(())
}

/// Makes a tenant unless it is there.
pub(super) fn make(tx: &mut Tx<'_>, tenant: TenantId, name: Option<&str>, at: Timestamp) -> Result<()> {
    execute(tx.conn, MAKE, |cells| {
        cells.id(tenant.0).int(at.0).opt_text(name);
    })
    .map(drop)
}

/// Names, suspends or reinstates a tenant.
pub(super) fn save(tx: &mut Tx<'_>, save: &SaveTenant) -> Result<Result<Outcome>> {
    if let Err(refusal) = tx.batch.tenants.get(save.tenant) {
        return Ok(Err(refusal));
    }
    execute(tx.conn, SAVE, |cells| {
        cells.id(save.tenant.0).opt_text(save.name.as_deref());
        cells.opt_int(save.suspended.map(i64::from)).int(save.at.0);
    })?;
    if let Some(suspended) = save.suspended {
        tx.batch.tenants.suspend(save.tenant, suspended);
    }
    tx.batch.note(save.audit.as_deref());
    Ok(Ok(Outcome::Done))
}

/// Writes what was counted.
pub(super) fn flush(tx: &mut Tx<'_>) -> Result<()> {
    each(tx.conn, COUNT, &tx.batch.tenants.changed(), |(id, next), cells| {
        cells.id(id.0).int(*next);
    })
    .map(drop)
}
