//! Who owns a shard.
//!
//! Promises: an epoch is won once; a stale one is `Fenced` and changes nothing, even when the lease is taken at the same
//! moment: a fenced write holds a share of the lease's row until its commit, and whoever takes the lease anew, or gives it
//! back, waits for it.
//! To keep a lease is to wait for nobody.

use super::Tx;
use crate::domain::error::Result;
use crate::domain::ids::{Epoch, Fence};
use crate::domain::write::{Outcome, TakeLease};
use crate::infra::store::batch::Item;
use crate::infra::store::batch::leases::Lease;
use crate::infra::store::columns::Columns;
use crate::infra::store::postgres::sql::{Cells, execute, row};

const KEEP: &str =
    "update leases set address = $4, expires_at = $5 where shard = $1 and node = $2 and epoch = $3";
const MAKE: &str = "insert into leases (shard, node, address, epoch, expires_at) values ($1, null, '', 0, 0) \
    on conflict do nothing";
const LOCK: &str = "select node, epoch, expires_at from leases where shard = $1 for update";
const WIN: &str = "update leases set node = $2, address = $3, epoch = $4, expires_at = $5 where shard = $1";
const FENCE_RELAYS: &str = "insert into relays (shard, log, epoch, head, stamped_at) \
    values ($1, 0, $2, 0, 0), ($1, 1, $2, 0, 0) on conflict (shard, log) do update set epoch = excluded.epoch";
const RELEASE: &str = "update leases set node = null, expires_at = 0 where shard = $1 and epoch = $2";

/// Takes or keeps shards, in their order.
pub(super) async fn take(tx: &mut Tx<'_>, items: &[Item<'_, TakeLease>]) -> Result<()> {
    let mut items = items.to_vec();
    items.sort_by_key(|(place, wanted)| (wanted.shard, *place));
    for (place, wanted) in items {
        let won = match wanted.held {
            Some(held) => keep(tx, wanted, held).await?,
            None => win(tx, wanted).await?,
        };
        tx.batch.answer(place, Ok(Outcome::Lease(won)));
    }
    Ok(())
}

async fn keep(tx: &mut Tx<'_>, wanted: &TakeLease, held: Epoch) -> Result<Option<Epoch>> {
    let cells = Cells::new().int(i64::from(wanted.shard.0)).text(&wanted.node).int(held.0);
    let cells = cells.text(&wanted.address).int(wanted.at.after(wanted.ttl).0);
    let kept = execute(tx.conn, KEEP, cells).await?;
    Ok((kept == 1).then_some(held))
}

async fn win(tx: &mut Tx<'_>, wanted: &TakeLease) -> Result<Option<Epoch>> {
    let shard = i64::from(wanted.shard.0);
    execute(tx.conn, MAKE, Cells::new().int(shard)).await?;
    let found = row(tx.conn, LOCK, Cells::new().int(shard)).await?;
    let lease = match &found {
        Some(row) => Lease { node: row.opt_str(0)?, epoch: row.int(1)?, expires_at: row.int(2)? },
        None => Lease::default(),
    };
    let Some(won) = lease.won_by(wanted) else { return Ok(None) };
    let cells = Cells::new().int(shard).text(&wanted.node).text(&wanted.address).int(won);
    execute(tx.conn, WIN, cells.int(wanted.at.after(wanted.ttl).0)).await?;
    execute(tx.conn, FENCE_RELAYS, Cells::new().int(shard).int(won)).await?;
    Ok(Some(Epoch(won)))
}

/// Gives shards back.
pub(super) async fn release(tx: &mut Tx<'_>, items: &[(usize, Fence)]) -> Result<()> {
    for &(place, fence) in items {
        let answer = match tx.batch.leases.check(fence) {
            Ok(()) => {
                let cells = Cells::new().int(i64::from(fence.shard.0)).int(fence.epoch.0);
                // The update alone would pass writes that are under way: it does not change the key that they hold.
                row(tx.conn, LOCK, Cells::new().int(i64::from(fence.shard.0))).await?;
                execute(tx.conn, RELEASE, cells).await?;
                tx.batch.leases.release(fence.shard);
                Ok(Outcome::Done)
            }
            Err(refusal) => Err(refusal),
        };
        tx.batch.answer(place, answer);
    }
    Ok(())
}
