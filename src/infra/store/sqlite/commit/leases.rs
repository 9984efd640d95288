//! Who owns a shard, and what only its owner may do: number the outbox.
//!
//! Promises: an epoch is won once; a stale one is `Fenced` and changes nothing; positions are gapless.

use std::collections::HashMap;

use rusqlite::Connection;

use super::{Item, Tx};
use crate::domain::error::{Error, Result};
use crate::domain::event::{Entry, Log};
use crate::domain::ids::{Epoch, Fence, Position, Shard};
use crate::domain::write::{Outcome, TakeLease};
use crate::infra::store::sqlite::sql::{Columns, limit, log_number, narrow};
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

/// The epochs in force for the shards of a batch.
#[derive(Default)]
pub(super) struct Leases(HashMap<Shard, Epoch>);

impl Leases {
    pub(super) fn load(conn: &Connection, shards: &[Shard]) -> Result<Self> {
        let mut leases = HashMap::new();
        let rows = fetch(conn, LOAD, shards, |shard, cells| {
            cells.int(i64::from(shard.0));
        });
        for row in rows? {
            leases.insert(Shard(narrow(row.int(0)?)?), Epoch(row.int(1)?));
        }
        Ok(Self(leases))
    }

    /// Refuses a writer that lost the shard.
    pub(super) fn check(&self, fence: Fence) -> Result<()> {
        if self.0.get(&fence.shard) == Some(&fence.epoch) { Ok(()) } else { Err(Error::fenced()) }
    }
}

/// Takes or keeps shards.
pub(super) fn take(tx: &mut Tx<'_>, items: &[Item<'_, TakeLease>]) -> Result<()> {
    for &(place, wanted) in items {
        let epoch = take_one(tx.conn, wanted)?;
        if let Some(epoch) = epoch {
            tx.leases.0.insert(wanted.shard, epoch);
        }
        tx.answer(place, Ok(Outcome::Lease(epoch)));
    }
    Ok(())
}

fn take_one(conn: &Connection, wanted: &TakeLease) -> Result<Option<Epoch>> {
    let shard = i64::from(wanted.shard.0);
    let found = row(conn, ONE, |cells| {
        cells.int(shard);
    })?;
    let (node, epoch, expires) = match &found {
        Some(row) => (row.opt_text(0)?, row.int(1)?, row.int(2)?),
        None => (None, 0, 0),
    };
    let mine = node.as_deref() == Some(wanted.node.as_str());
    let won = match wanted.held {
        // An owner that was late but not replaced goes on.
        Some(held) if mine && held.0 == epoch => epoch,
        Some(_lost) => return Ok(None),
        // The same process asking anew has restarted its owner: the earlier one must be fenced.
        None if node.is_none() || mine || expires <= wanted.at.0 => epoch + 1,
        None => return Ok(None),
    };
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
        let answer = match tx.leases.check(fence) {
            Ok(()) => {
                execute(tx.conn, RELEASE, |cells| {
                    cells.int(i64::from(fence.shard.0)).int(fence.epoch.0);
                })?;
                tx.leases.0.remove(&fence.shard);
                Ok(Outcome::Done)
            }
            Err(refusal) => Err(refusal),
        };
        tx.answer(place, answer);
    }
    Ok(())
}

/// Numbers what has no position yet, oldest first: what is stored by an update, what this batch adds as it is inserted.
pub(super) fn stamp(tx: &mut Tx<'_>, items: &[(usize, Fence, usize)]) -> Result<()> {
    for &(place, fence, most) in items {
        let answer = match tx.leases.check(fence) {
            Ok(()) => Ok(stamp_one(tx, fence, most)?),
            Err(refusal) => Err(refusal),
        };
        tx.answer(place, answer);
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
        let fresh = tx.outbox.unnumbered(fence.shard, log).min(most - stored);
        let advanced = row(tx.conn, ADVANCE, |cells| {
            cells.int(limit(stored + fresh)).int(shard);
            cells.int(log_number(log)).int(fence.epoch.0);
        })?;
        // The lease was checked above, in this transaction: its relay rows carry the same epoch.
        let advanced = advanced.ok_or_else(|| Error::bug("a leased shard without its relay"))?;
        *head = Position(advanced.int(0)?);
        *rows = tx.outbox.number((fence.shard, log), Position(head.0 - limit(fresh)), fresh);
        stamped += stored + fresh;
    }
    Ok(Outcome::Stamped { stamped, heads, added })
}
