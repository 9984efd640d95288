//! Numbering: what waits in the outbox, oldest first, then what this batch adds, as it is inserted.
//!
//! Promises: positions are gapless and rise in the order of commits; a stale epoch numbers nothing. The relays' rows are
//! locked first, so numbers are given by one transaction at a time; the statement after that sees all that was
//! committed before.

use std::collections::HashMap;

use super::Tx;
use crate::domain::error::{Error, Result};
use crate::domain::event::{Entry, Log};
use crate::domain::ids::{Fence, Position, Shard};
use crate::domain::time::now;
use crate::domain::write::Outcome;
use crate::infra::store::columns::{Columns, limit, narrow, numbered_log};
use crate::infra::store::postgres::sql::{Cells, rows};

const MOVE: &str = "with due as (select o.shard, o.log, o.id from unnest($1::bigint[], $2::bigint[]) \
        with ordinality v(shard, most, n) cross join (values (0), (1)) l(log) cross join lateral \
        (select w.shard, w.log, w.id from outbox w where w.shard = v.shard and w.log = l.log order by w.id \
        limit v.most) o), \
    moved as (delete from outbox o using due d where o.shard = d.shard and o.log = d.log and o.id = d.id returning o.*), \
    added as (insert into events (event_id, tenant_id, shard, log, session_id, seq, type, version, occurred_at, data, \
        position, stored_at) select m.event_id, m.tenant_id, m.shard, m.log, m.session_id, m.seq, m.type, m.version, \
        m.occurred_at, m.data, r.head + row_number() over (partition by m.shard, m.log order by m.id), \
        greatest(r.stamped_at, $3::bigint) from moved m join relays r on r.shard = m.shard and r.log = m.log) \
    select shard, log, count(*) from moved group by shard, log";

/// Numbers what waited and what happened in the batch.
pub(super) async fn stamp(tx: &mut Tx<'_>, items: &[(usize, Fence, usize)]) -> Result<()> {
    let mut allowed = Vec::new();
    for &(place, fence, most) in items {
        match tx.batch.leases.check(fence) {
            Ok(()) => allowed.push((place, fence, most)),
            Err(refusal) => tx.batch.answer(place, Err(refusal)),
        }
    }
    if allowed.is_empty() {
        return Ok(());
    }
    step(tx, &allowed).await?;
    for (place, fence, most) in allowed {
        let answer = number(tx, (fence, most))?;
        tx.batch.answer(place, Ok(answer));
    }
    Ok(())
}

/// Moves what waits into the logs.
async fn step(tx: &mut Tx<'_>, allowed: &[(usize, Fence, usize)]) -> Result<()> {
    let mut limits: HashMap<Shard, usize> = HashMap::new();
    for (_, fence, most) in allowed {
        limits.entry(fence.shard).or_insert(*most);
    }
    // Never less than before, whichever node's clock it was.
    let at = tx.heads.values().map(|head| head.stamped_at).fold(now().0, i64::max);
    let cells = Cells::new()
        .ints(limits.keys().map(|shard| i64::from(shard.0)))
        .ints(limits.values().map(|most| limit(*most)))
        .int(at);
    let moved = rows(tx.conn, MOVE, cells).await?;
    tx.heads.values_mut().for_each(|head| head.stamped_at = at);
    for row in moved {
        let shard = Shard(narrow(row.int(0)?)?);
        let head = tx.heads.get_mut(&(shard, numbered_log(row.int(1)?)?));
        let head = head.ok_or_else(|| Error::bug("a leased shard without its relay"))?;
        let moved = row.int(2)?;
        head.head += moved;
        head.moved = usize::try_from(moved).map_err(Error::bug)?;
        head.behind = limits.get(&shard).is_some_and(|most| head.moved >= *most);
        head.changed = true;
    }
    Ok(())
}

/// Numbers what this batch adds to a shard, as far as there is room.
fn number(tx: &mut Tx<'_>, (fence, most): (Fence, usize)) -> Result<Outcome> {
    let mut stamped = 0;
    let mut ends = [Position::default(); 2];
    let mut added = <[Vec<Entry>; 2]>::default();
    for ((log, end), entries) in Log::ALL.into_iter().zip(&mut ends).zip(&mut added) {
        // The lease was checked in this transaction: its relay rows carry the same epoch.
        let head = tx.heads.get_mut(&(fence.shard, log)).filter(|head| head.epoch == fence.epoch.0);
        let head = head.ok_or_else(|| Error::bug("a leased shard without its relay"))?;
        // What left the outbox is told once, should there be two stamps for the shard.
        let moved = std::mem::take(&mut head.moved);
        let room = if head.behind { 0 } else { most.saturating_sub(moved) };
        let fresh = tx.batch.outbox.unnumbered(fence.shard, log).min(room);
        *entries = tx.batch.outbox.number((fence.shard, log), Position(head.head), fresh);
        head.head += limit(fresh);
        head.changed |= fresh > 0;
        *end = Position(head.head);
        stamped += moved + fresh;
    }
    Ok(Outcome::Stamped { stamped, heads: ends, added })
}
