//! How far consumer groups are, what failed, and what was given up on.
//!
//! Promises: a cursor never moves back; a handled entry above it is remembered until it passes; burying is idempotent
//! per group and event, and counts as handled.

use rusqlite::Connection;

use super::Tx;
use crate::domain::error::{Error, Result};
use crate::domain::ids::DeadLetterId;
use crate::domain::time::now;
use crate::domain::write::{DeliveryFailed, Handled, Outcome, Redrive};
use crate::infra::store::batch::consumers::Change;
use crate::infra::store::columns::{Columns, log_number};
use crate::infra::store::sqlite::read::events::AT_POSITION;
use crate::infra::store::sqlite::statement::{Row, each, execute, row};
use crate::infra::store::views;

const INBOX: &str = "insert into inbox (shard, log, group_name, position, event_id) values (?, ?, ?, ?, ?) \
    on conflict do nothing";
pub(super) const SETTLED: &str =
    "delete from deliveries where shard = ? and log = ? and group_name = ? and position = ?";
const ADVANCE: &str = "insert into cursors (shard, log, group_name, position) values (?, ?, ?, ?) \
    on conflict (shard, log, group_name) do update set position = max(position, excluded.position)";
const CURSOR: &str = "select position from cursors where shard = ? and log = ? and group_name = ?";
const PASSED_INBOX: &str =
    "delete from inbox where shard = ? and log = ? and group_name = ? and position <= ?";
const PASSED_DELIVERIES: &str =
    "delete from deliveries where shard = ? and log = ? and group_name = ? and position <= ?";
const FAILED: &str = "insert into deliveries (shard, log, group_name, position, event_id, attempts, error, next_at, \
    updated_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (shard, log, group_name, position) do update set \
    attempts = excluded.attempts, error = excluded.error, next_at = excluded.next_at, updated_at = excluded.updated_at";
const BURY: &str = "insert into dead_letters (id, tenant_id, session_id, shard, log, group_name, position, event_id, \
    event, state, attempts, error, buried_at, updated_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, 'buried', ?, ?, ?13, ?13) \
    on conflict (shard, log, group_name, event_id) do nothing";
const RETRIED: &str = "update dead_letters set attempts = ?2, error = ?3, updated_at = ?4, \
    state = iif(?5, 'buried', state) where id = ?1 and shard = ?6 and state = 'redriving'";
const LETTER: &str = "select state from dead_letters where id = ? and tenant_id = ?";
const REDRIVE: &str = "update dead_letters set state = 'redriving', updated_at = ? where id = ?";
const RESOLVE: &str = "update dead_letters set state = 'resolved', updated_at = ? where id = ? and shard = ? \
    and state = 'redriving'";

/// Applies changes in the order they came.
pub(super) fn consumers(tx: &mut Tx<'_>, items: &[(usize, Change<'_>)]) -> Result<()> {
    for (place, change) in items {
        let answer = match change.allowed(&tx.batch) {
            Ok(()) => carry_out(tx, change)?,
            Err(refusal) => Err(refusal),
        };
        tx.batch.answer(*place, answer);
    }
    Ok(())
}

/// The inner result is the write's; the outer `Err` is the database's.
fn carry_out(tx: &mut Tx<'_>, change: &Change<'_>) -> Result<Result<Outcome>> {
    match change {
        Change::Handled(done) => handled(tx.conn, done)?,
        Change::Failed(failed) => delivery_failed(tx.conn, failed)?,
        Change::Bury(failed) => return bury(tx.conn, failed),
        Change::Redriven(fence, id) => {
            execute(tx.conn, RESOLVE, |cells| {
                cells.int(now().0).id(id.0).int(i64::from(fence.shard.0));
            })?;
        }
        Change::Redrive(wanted) => return redrive(tx, wanted),
    }
    Ok(Ok(Outcome::Done))
}

fn handled(conn: &Connection, done: &Handled) -> Result<()> {
    let (shard, log) = (i64::from(done.fence.shard.0), log_number(done.log));
    execute(conn, ADVANCE, |cells| {
        cells.int(shard).int(log).text(&done.group).int(done.cursor.0);
    })?;
    let above: Vec<_> = done.above.iter().filter(|(position, _)| *position > done.cursor).collect();
    each(conn, INBOX, &above, |(position, event), cells| {
        cells.int(shard).int(log).text(&done.group).int(position.0).id(event.0);
    })?;
    each(conn, SETTLED, &above, |(position, _), cells| {
        cells.int(shard).int(log).text(&done.group).int(position.0);
    })?;
    for passed in [PASSED_INBOX, PASSED_DELIVERIES] {
        execute(conn, passed, |cells| {
            cells.int(shard).int(log).text(&done.group).int(done.cursor.0);
        })?;
    }
    Ok(())
}

fn delivery_failed(conn: &Connection, failed: &DeliveryFailed) -> Result<()> {
    if failed.dead_letter.is_some() {
        return retried(conn, failed, false);
    }
    execute(conn, FAILED, |cells| {
        cells.int(i64::from(failed.fence.shard.0)).int(log_number(failed.log)).text(&failed.group);
        cells.int(failed.position.0).id(failed.event.0).int(i64::from(failed.attempts));
        cells.text(&failed.error).int(failed.next_at.0).int(failed.at.0);
    })
    .map(drop)
}

fn retried(conn: &Connection, failed: &DeliveryFailed, given_up: bool) -> Result<()> {
    let Some(letter) = failed.dead_letter else { return Ok(()) };
    execute(conn, RETRIED, |cells| {
        cells.id(letter.0).int(i64::from(failed.attempts)).text(&failed.error).int(failed.at.0);
        cells.int(i64::from(given_up)).int(i64::from(failed.fence.shard.0));
    })
    .map(drop)
}

fn bury(conn: &Connection, failed: &DeliveryFailed) -> Result<Result<Outcome>> {
    if failed.dead_letter.is_some() {
        retried(conn, failed, true)?;
        return Ok(Ok(Outcome::Done));
    }
    let (shard, log) = (i64::from(failed.fence.shard.0), log_number(failed.log));
    let found = row(conn, AT_POSITION, |cells| {
        cells.int(shard).int(log).int(failed.position.0);
    })?;
    let envelope = found.as_ref().map(views::event).transpose()?;
    let Some(envelope) = envelope.filter(|envelope| envelope.event_id == failed.event) else {
        return Ok(Err(Error::not_found("event_not_found", "there is no such event at this position")));
    };
    let json = serde_json::to_string(&envelope).map_err(Error::bug)?;
    execute(conn, BURY, |cells| {
        cells.id(DeadLetterId::new().0).id(envelope.tenant_id.0).id(envelope.subject().0);
        cells.int(shard).int(log).text(&failed.group).int(failed.position.0).id(failed.event.0);
        cells.text(&json).int(i64::from(failed.attempts)).text(&failed.error);
        cells.int(failed.at.0).int(failed.at.0);
    })?;
    settle(conn, failed)?;
    Ok(Ok(Outcome::Done))
}

/// Given up on is handled: it is not delivered again after a restart.
fn settle(conn: &Connection, failed: &DeliveryFailed) -> Result<()> {
    let (shard, log) = (i64::from(failed.fence.shard.0), log_number(failed.log));
    let here = [failed.position];
    each(conn, SETTLED, &here, |position, cells| {
        cells.int(shard).int(log).text(&failed.group).int(position.0);
    })?;
    let cursor = row(conn, CURSOR, |cells| {
        cells.int(shard).int(log).text(&failed.group);
    })?;
    if cursor.map_or(Ok(0), |row| row.int(0))? >= failed.position.0 {
        return Ok(());
    }
    each(conn, INBOX, &here, |position, cells| {
        cells.int(shard).int(log).text(&failed.group).int(position.0).id(failed.event.0);
    })
    .map(drop)
}

fn redrive(tx: &mut Tx<'_>, wanted: &Redrive) -> Result<Result<Outcome>> {
    if let Some(earlier) = tx.batch.stored.replay(wanted.tenant, wanted.idempotency.as_ref()) {
        return Ok(earlier);
    }
    let found: Option<Row> = row(tx.conn, LETTER, |cells| {
        cells.id(wanted.id.0).id(wanted.tenant.0);
    })?;
    let Some(found) = found else {
        return Ok(Err(Error::not_found("dead_letter_not_found", "there is no such dead letter")));
    };
    if found.text(0)? == "resolved" {
        return Ok(Err(Error::conflict("dead_letter_resolved", "this dead letter was delivered already")));
    }
    execute(tx.conn, REDRIVE, |cells| {
        cells.int(wanted.at.0).id(wanted.id.0);
    })?;
    tx.batch.note(wanted.audit.as_deref());
    Ok(Ok(tx.batch.stored.keep(wanted.tenant, wanted.idempotency.as_ref(), &wanted.response, wanted.at)))
}
