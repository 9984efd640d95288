//! Events as rows.

use super::Tx;
use crate::domain::error::Result;
use crate::infra::store::columns::log_number;
use crate::infra::store::sqlite::statement::each;

const INSERT: &str = "insert into events (event_id, tenant_id, shard, log, session_id, seq, position, type, version, \
    occurred_at, data) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Writes what happened in the batch.
pub(super) fn flush(tx: &mut Tx<'_>) -> Result<()> {
    each(tx.conn, INSERT, &tx.batch.outbox.rows(), |row, cells| {
        let event = &*row.event;
        cells.id(event.event_id.0).id(event.tenant_id.0).int(i64::from(row.shard.0));
        cells.int(log_number(row.log)).id(event.subject().0).int(event.seq);
        cells.opt_int(row.position().map(|position| position.0)).text(&event.kind);
        cells.int(i64::from(event.version)).int(event.occurred_at.0).text(event.data.as_str());
    })
    .map(drop)
}
