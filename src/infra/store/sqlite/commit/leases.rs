//! Who owns a shard, and what only its owner may do: number the outbox.
//!
//! Promises: an epoch is won once; a stale one is `Fenced` and changes nothing; positions are gapless.

use rusqlite::Connection;

use super::Tx;
use crate::domain::error::{Error, Result};
use crate::domain::event::{Entry, Log};
use crate::domain::ids::{Epoch, Fence, Position, Shard};
use crate::domain::write::{Outcome, TakeLease};
use crate::infra::store::batch::Item;
use crate::infra::store::batch::leases::Lease;
use crate::infra::store::columns::{Columns, limit, log_number, narrow};
use crate::infra::store::sqlite::statement::{execute, fetch, row};

const LOAD: &str = "select shard, epoch from leases where node is not null and shard = ?";

const ONE: &str = "select node, epoch, expires_at from leases where shard = ?";
const WIN: &str = "insert into leases (shard, node, address, epoch, expires_at) values (?, ?, ?, ?, ?) \
    on conflict (shard) do update set node = excluded.node, address = excluded.address, epoch = excluded.epoch, \
    expires_at = excluded.expires_at";
const FENCE_RELAYS: &str = "insert into relays (shard, log, epoch, head) values (?1, 0, ?2, 0), (?1, 1, ?2, 0) \
    on conflict (shard, log) do update set epoch = excluded.epoch";
const RELEASE: &str = "update leases set node = null, expires_at = 0 where shard = ? and epoch = ?";
pub(super) const NUMBER: &str = "update events set position = v.position from ( \
        select id, (select head from relays where shard = ?1 and log = ?2) + row_number() over (order by id) as position \
        from (select id from events where shard = ?1 and log = ?2 and position is null order by id limit ?3)) v \
    where events.id = v.id";
const ADVANCE: &str =
    "update relays set head = head + ? where shard = ? and log = ? and epoch = ? returning head";

/// Reads the epochs in force.
pub(super) fn load(tx: &mut Tx<'_>, shards: &[Shard]) -> Result<()> {
    let rows = fetch(tx.conn, LOAD, shards, |shard, cells| {
        cells.int(i64::from(shard.0));
    });
    for row in rows? {
        tx.batch.leases.hold(Shard(narrow(row.int(0)?)?), Epoch(row.int(1)?));
    }
    Ok(())
}

/// Takes or keeps shards.
pub(super) fn take(tx: &mut Tx<'_>, items: &[Item<'_, TakeLease>]) -> Result<()> {
    for &(place, wanted) in items {
        let epoch = take_one(tx.conn, wanted)?;
        if let Some(epoch) = epoch {
            tx.batch.leases.hold(wanted.shard, epoch);
        }
        tx.batch.answer(place, Ok(Outcome::Lease(epoch)));
    }
    Ok(())
}

fn take_one(conn: &Connection, wanted: &TakeLease) -> Result<Option<Epoch>> {
    let shard = i64::from(wanted.shard.0);
    let found = row(conn, ONE, |cells| {
        cells.int(shard);
    })?;
    let lease = match &found {
        Some(row) => Lease { node: row.opt_str(0)?, epoch: row.int(1)?, expires_at: row.int(2)? },
        None => Lease::default(),
    };
    let Some(won) = lease.won_by(wanted) else { return Ok(None) };
    execute(conn, WIN, |cells| {
        let expires = wanted.at.after(wanted.ttl);
        cells.int(shard).text(&wanted.node).text(&wanted.address).int(won).int(expires.0);
    })?;
    if wanted.held.is_none() {
        execute(conn, FENCE_RELAYS, |cells| {
            cells.int(shard).int(won);
        })?;
    }
    Ok(Some(Epoch(won)))
}

/// Gives shards back.
pub(super) fn release(tx: &mut Tx<'_>, items: &[(usize, Fence)]) -> Result<()> {
    for &(place, fence) in items {
        let answer = match tx.batch.leases.check(fence) {
            Ok(()) => {
                execute(tx.conn, RELEASE, |cells| {
                    cells.int(i64::from(fence.shard.0)).int(fence.epoch.0);
                })?;
                tx.batch.leases.release(fence.shard);
                Ok(Outcome::Done)
            }
            Err(refusal) => Err(refusal),
        };
        tx.batch.answer(place, answer);
    }
    Ok(())
}

/// Numbers what has no position yet, oldest first: what is stored by an update, what this batch adds as it is inserted.
pub(super) fn stamp(tx: &mut Tx<'_>, items: &[(usize, Fence, usize)]) -> Result<()> {
    for &(place, fence, most) in items {
        let answer = match tx.batch.leases.check(fence) {
            Ok(()) => Ok(stamp_one(tx, fence, most)?),
            Err(refusal) => Err(refusal),
        };
        tx.batch.answer(place, answer);
    }
    Ok(())
}

fn stamp_one(tx: &mut Tx<'_>, fence: Fence, most: usize) -> Result<Outcome> {
    let shard = i64::from(fence.shard.0);
    let mut stamped = 0;
    let mut heads = [Position::default(); 2];
    let mut added = <[Vec<Entry>; 2]>::default();
    for ((log, head), rows) in Log::ALL.into_iter().zip(&mut heads).zip(&mut added) {
        let stored = execute(tx.conn, NUMBER, |cells| {
            cells.int(shard).int(log_number(log)).int(limit(most));
        })?;
        let fresh = tx.batch.outbox.unnumbered(fence.shard, log).min(most - stored);
        let advanced = row(tx.conn, ADVANCE, |cells| {
            cells.int(limit(stored + fresh)).int(shard);
            cells.int(log_number(log)).int(fence.epoch.0);
        })?;
        // The lease was checked above, in this transaction: its relay rows carry the same epoch.
        let advanced = advanced.ok_or_else(|| Error::bug("a leased shard without its relay"))?;
        *head = Position(advanced.int(0)?);
        *rows = tx.batch.outbox.number((fence.shard, log), Position(head.0 - limit(fresh)), fresh);
        stamped += stored + fresh;
    }
    Ok(Outcome::Stamped { stamped, heads, added })
}
