//! The sessions a batch touches: locked in the order of their ids, read once, written once.

use super::Tx;
use crate::domain::error::Result;
use crate::domain::ids::{SessionId, Shard, TenantId};
use crate::infra::store::batch::sessions::Counters;
use crate::infra::store::columns::{Columns, narrow};
use crate::infra::store::postgres::sql::{Cells, execute, rows};

const LOAD: &str = "select id, tenant_id, shard, next_event_seq, next_command_seq, queued, \
    (deleted_at is not null)::int from sessions where id = any($1) order by id for update";
const SAVE: &str = "update sessions s set next_event_seq = v.event_seq, next_command_seq = v.command_seq, \
    queued = v.queued from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[]) \
    v(id, event_seq, command_seq, queued) where s.id = v.id";

/// Locks and reads sessions; nobody else changes anything of them until the end.
pub(super) async fn load(tx: &mut Tx<'_>, ids: &[SessionId]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    for row in rows(tx.conn, LOAD, Cells::new().ids(ids.iter().map(|id| id.0))).await? {
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
pub(super) async fn flush(tx: &mut Tx<'_>) -> Result<()> {
    let changed = tx.batch.sessions.changed();
    if changed.is_empty() {
        return Ok(());
    }
    let cells = Cells::new()
        .ids(changed.iter().map(|(id, _)| id.0))
        .ints(changed.iter().map(|(_, row)| row.next_event))
        .ints(changed.iter().map(|(_, row)| row.next_command))
        .ints(changed.iter().map(|(_, row)| row.queued));
    execute(tx.conn, SAVE, cells).await.map(drop)
}
