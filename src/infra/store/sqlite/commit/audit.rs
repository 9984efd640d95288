//! The audit log as rows, written with what it tells of.

use super::Tx;
use crate::domain::error::Result;
use crate::infra::store::sqlite::statement::each;

const INSERT: &str = "insert into audit_log (id, tenant_id, at, actor_kind, actor_id, action, target_kind, target_id, \
    request_id, client, detail) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Writes what the batch noted.
pub(super) fn flush(tx: &mut Tx<'_>) -> Result<()> {
    each(tx.conn, INSERT, &tx.batch.noted(), |row, cells| {
        let (entry, target) = (&row.entry, row.entry.target.as_ref());
        cells.id(entry.id.0).id(entry.tenant.0).int(entry.at.0);
        cells.text(entry.actor.kind.as_str()).opt_id(entry.actor.id).text(&entry.action);
        cells.opt_text(target.map(|target| target.kind.as_str()));
        cells.opt_text(target.map(|target| target.id.as_str()));
        cells.opt_text(entry.request_id.as_deref()).opt_text(entry.client.as_deref()).text(&row.detail);
    })
    .map(drop)
}
