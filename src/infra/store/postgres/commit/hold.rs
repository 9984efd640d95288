//! What a batch holds until its end, locked and read in one statement: the leases its writers claim, the sessions it
//! touches, and the relays whose logs it numbers.
//!
//! Promises: always in this order, and each by its id, so two batches never wait for each other; what is read is what
//! was last committed, however long the lock took. A relay is locked by the shard's owner alone: others may hold a session
//! that it waits for.

use std::collections::HashMap;

use super::Tx;
use crate::domain::error::Result;
use crate::domain::event::Log;
use crate::domain::ids::{Epoch, Fence, SessionId, Shard, TenantId};
use crate::infra::store::batch::kinds::Mentioned;
use crate::infra::store::batch::sessions::Counters;
use crate::infra::store::columns::{Columns, narrow, numbered_log};
use crate::infra::store::postgres::sql::{Cells, rows};

/// A share of the lease's key: it holds up whoever locks the row to win it, not an update of when it expires. The parts
/// run in the order in which they are united.
const HOLD: &str = "with l as materialized (select shard, epoch from leases where shard = any($1) and node is not null \
        order by shard for key share), \
    s as materialized (select id, tenant_id, shard, next_event_seq, next_command_seq, queued, \
        (deleted_at is not null)::int as deleted from sessions where id = any($2) order by id for update), \
    r as materialized (select shard, log, epoch, head, stamped_at from relays where shard in (select l.shard from l \
        join unnest($3::bigint[], $4::bigint[]) v(shard, epoch) on v.shard = l.shard and v.epoch = l.epoch) \
        order by shard, log for update) \
    select 0, shard, null::uuid, null::uuid, epoch, 0, 0, 0 from l \
    union all select 1, shard, id, tenant_id, next_event_seq, next_command_seq, queued, deleted from s \
    union all select 2, shard, null, null, log, epoch, head, stamped_at from r";

/// One log of a shard, as far as it is numbered.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) epoch: i64,
    pub(super) head: i64,
    pub(super) stamped_at: i64,
    /// How many rows have left the outbox now.
    pub(super) moved: usize,
    /// Whether rows may be left there: then nothing that is newer is numbered.
    pub(super) behind: bool,
    pub(super) changed: bool,
}

pub(super) type Heads = HashMap<(Shard, Log), Head>;

/// Locks and reads; nobody else changes any of it until the end.
pub(super) async fn hold(
    tx: &mut Tx<'_>,
    mentioned: &Mentioned,
    stamps: &[(usize, Fence, usize)],
) -> Result<()> {
    if mentioned.shards.is_empty() && mentioned.sessions.is_empty() {
        return Ok(());
    }
    let cells = Cells::new()
        .ints(mentioned.shards.iter().map(|shard| i64::from(shard.0)))
        .ids(mentioned.sessions.iter().map(|id| id.0))
        .ints(stamps.iter().map(|(_, fence, _)| i64::from(fence.shard.0)))
        .ints(stamps.iter().map(|(_, fence, _)| fence.epoch.0));
    for row in rows(tx.conn, HOLD, cells).await? {
        let shard = Shard(narrow(row.int(1)?)?);
        match row.int(0)? {
            0 => tx.batch.leases.hold(shard, Epoch(row.int(4)?)),
            1 => tx.batch.sessions.know(SessionId(row.id(2)?), counters(&row, shard)?),
            _ => {
                let head = Head {
                    epoch: row.int(5)?,
                    head: row.int(6)?,
                    stamped_at: row.int(7)?,
                    moved: 0,
                    behind: false,
                    changed: false,
                };
                tx.heads.insert((shard, numbered_log(row.int(4)?)?), head);
            }
        }
    }
    Ok(())
}

fn counters(row: &impl Columns, shard: Shard) -> Result<Counters> {
    Ok(Counters {
        tenant: TenantId(row.id(3)?),
        shard,
        next_event: row.int(4)?,
        next_command: row.int(5)?,
        queued: row.int(6)?,
        deleted: row.int(7)? != 0,
        changed: false,
    })
}
