//! The counters of the sessions a batch touches: read once, written once.

use super::Tx;
use crate::domain::error::Result;
use crate::domain::ids::{SessionId, Shard, TenantId};
use crate::infra::store::batch::sessions::Counters;
use crate::infra::store::columns::{Columns, narrow};
use crate::infra::store::sqlite::statement::{each, fetch};

pub(super) const LOAD: &str = "select id, tenant_id, shard, next_event_seq, next_command_seq, queued, \
    deleted_at is not null from sessions where id = ?";
pub(super) const SAVE: &str =
    "update sessions set next_event_seq = ?2, next_command_seq = ?3, queued = ?4 where id = ?1";

/// Reads those that are not yet known.
pub(super) fn load(tx: &mut Tx<'_>, ids: &[SessionId]) -> Result<()> {
    let missing = tx.batch.sessions.missing(ids);
    let rows = fetch(tx.conn, LOAD, &missing, |id, cells| {
        cells.id(id.0);
    });
    for row in rows? {
        let counters = Counters {
            tenant: TenantId(row.id(1)?),
            shard: Shard(narrow(row.int(2)?)?),
            next_event: row.int(3)?,
            next_command: row.int(4)?,
            queued: row.int(5)?,
            deleted: row.int(6)? != 0,
            changed: false,
        };
        tx.batch.sessions.know(SessionId(row.id(0)?), counters);
    }
    Ok(())
}

/// Writes those that changed.
pub(super) fn flush(tx: &mut Tx<'_>) -> Result<()> {
    each(tx.conn, SAVE, &tx.batch.sessions.changed(), |(id, row), cells| {
        cells.id(id.0).int(row.next_event).int(row.next_command).int(row.queued);
    })
    .map(drop)
}
