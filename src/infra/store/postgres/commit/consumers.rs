//! How far consumer groups are, what failed, and what was given up on, as rows.
//!
//! Promises: a cursor never moves back; a handled entry above it is remembered until it passes; burying is idempotent
//! per group and event, and counts as handled.

use super::Tx;
use crate::domain::error::{Error, Result};
use crate::domain::ids::DeadLetterId;
use crate::domain::time::now;
use crate::domain::write::{DeliveryFailed, Handled, Outcome, Redrive};
use crate::infra::store::batch::consumers::Change;
use crate::infra::store::columns::{Columns, log_number};
use crate::infra::store::postgres::read::events::AT_POSITION;
use crate::infra::store::postgres::sql::{Cells, execute, row};
use crate::infra::store::views;

/// The rows above the cursor and those it passes are never the same, so all of it is one statement.
const HANDLED: &str = "with advanced as (insert into cursors (shard, log, group_name, position) values ($1, $2, $3, $4) \
        on conflict (shard, log, group_name) do update set position = greatest(cursors.position, excluded.position)), \
    above as (select * from unnest($5::bigint[], $6::uuid[]) v(position, event_id)), \
    kept as (insert into inbox (shard, log, group_name, position, event_id) \
        select $1, $2, $3, position, event_id from above on conflict do nothing), \
    settled as (delete from deliveries d using above a where d.shard = $1 and d.log = $2 and d.group_name = $3 \
        and d.position = a.position), \
    passed as (delete from inbox where shard = $1 and log = $2 and group_name = $3 and position <= $4) \
    delete from deliveries where shard = $1 and log = $2 and group_name = $3 and position <= $4";
const FAILED: &str = "insert into deliveries (shard, log, group_name, position, event_id, attempts, error, next_at, \
    updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (shard, log, group_name, position) do update set \
    attempts = excluded.attempts, error = excluded.error, next_at = excluded.next_at, updated_at = excluded.updated_at";
const BURY: &str = "insert into dead_letters (id, tenant_id, session_id, shard, log, group_name, position, event_id, \
    event, state, attempts, error, buried_at, updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'buried', $10, \
    $11, $12, $12) on conflict (shard, log, group_name, event_id) do nothing";
const SETTLE: &str = "with settled as (delete from deliveries where shard = $1 and log = $2 and group_name = $3 \
        and position = $4) \
    insert into inbox (shard, log, group_name, position, event_id) select $1, $2, $3, $4, $5 where not exists \
    (select from cursors where shard = $1 and log = $2 and group_name = $3 and position >= $4) on conflict do nothing";
const RETRIED: &str = "update dead_letters set attempts = $2, error = $3, updated_at = $4, \
    state = case when $5 then 'buried' else state end where id = $1 and shard = $6 and state = 'redriving'";
const LETTER: &str = "select state from dead_letters where id = $1 and tenant_id = $2 for update";
const REDRIVE: &str = "update dead_letters set state = 'redriving', updated_at = $2 where id = $1";
const RESOLVE: &str = "update dead_letters set state = 'resolved', updated_at = $3 where id = $1 and shard = $2 \
    and state = 'redriving'";

/// Applies changes in the order they came.
pub(super) async fn consumers(tx: &mut Tx<'_>, items: &[(usize, Change<'_>)]) -> Result<()> {
    for (place, change) in items {
        let answer = match change.allowed(&tx.batch) {
            Ok(()) => carry_out(tx, change).await?,
            Err(refusal) => Err(refusal),
        };
        tx.batch.answer(*place, answer);
    }
    Ok(())
}

/// The inner result is the write's; the outer `Err` is the database's.
async fn carry_out(tx: &mut Tx<'_>, change: &Change<'_>) -> Result<Result<Outcome>> {
    match change {
        Change::Handled(done) => handled(tx, done).await?,
        Change::Failed(failed) => delivery_failed(tx, failed).await?,
        Change::Bury(failed) => return bury(tx, failed).await,
        Change::Redriven(fence, id) => {
            let cells = Cells::new().id(id.0).int(i64::from(fence.shard.0)).int(now().0);
            execute(tx.conn, RESOLVE, cells).await?;
        }
        Change::Redrive(wanted) => return redrive(tx, wanted).await,
    }
    Ok(Ok(Outcome::Done))
}

async fn handled(tx: &mut Tx<'_>, done: &Handled) -> Result<()> {
    let above: Vec<_> = done.above.iter().filter(|(position, _)| *position > done.cursor).collect();
    let cells = Cells::new()
        .int(i64::from(done.fence.shard.0))
        .int(log_number(done.log))
        .text(&done.group)
        .int(done.cursor.0)
        .ints(above.iter().map(|(position, _)| position.0))
        .ids(above.iter().map(|(_, event)| event.0));
    execute(tx.conn, HANDLED, cells).await.map(drop)
}

/// Group and position of a delivery.
fn place(failed: &DeliveryFailed) -> Cells {
    let shard = i64::from(failed.fence.shard.0);
    Cells::new().int(shard).int(log_number(failed.log)).text(&failed.group).int(failed.position.0)
}

async fn delivery_failed(tx: &mut Tx<'_>, failed: &DeliveryFailed) -> Result<()> {
    if failed.dead_letter.is_some() {
        return retried(tx, failed, false).await;
    }
    let cells = place(failed).id(failed.event.0).int(i64::from(failed.attempts)).text(&failed.error);
    execute(tx.conn, FAILED, cells.int(failed.next_at.0).int(failed.at.0)).await.map(drop)
}

async fn retried(tx: &mut Tx<'_>, failed: &DeliveryFailed, given_up: bool) -> Result<()> {
    let Some(letter) = failed.dead_letter else { return Ok(()) };
    let cells =
        Cells::new().id(letter.0).int(i64::from(failed.attempts)).text(&failed.error).int(failed.at.0);
    let cells = cells.flag(given_up).int(i64::from(failed.fence.shard.0));
    execute(tx.conn, RETRIED, cells).await.map(drop)
}

async fn bury(tx: &mut Tx<'_>, failed: &DeliveryFailed) -> Result<Result<Outcome>> {
    if failed.dead_letter.is_some() {
        retried(tx, failed, true).await?;
        return Ok(Ok(Outcome::Done));
    }
    let (shard, log) = (i64::from(failed.fence.shard.0), log_number(failed.log));
    let cells = Cells::new().int(shard).int(log).int(failed.position.0);
    let found = row(tx.conn, AT_POSITION, cells).await?;
    let envelope = found.as_ref().map(views::event).transpose()?;
    let Some(envelope) = envelope.filter(|envelope| envelope.event_id == failed.event) else {
        return Ok(Err(Error::not_found("event_not_found", "there is no such event at this position")));
    };
    let json = serde_json::to_string(&envelope).map_err(Error::bug)?;
    let cells = Cells::new()
        .id(DeadLetterId::new().0)
        .id(envelope.tenant_id.0)
        .id(envelope.subject().0)
        .int(shard)
        .int(log)
        .text(&failed.group)
        .int(failed.position.0)
        .id(failed.event.0)
        .text(&json)
        .int(i64::from(failed.attempts))
        .text(&failed.error)
        .int(failed.at.0);
    execute(tx.conn, BURY, cells).await?;
    // Given up on is handled: it is not delivered again after a restart.
    execute(tx.conn, SETTLE, place(failed).id(failed.event.0)).await?;
    Ok(Ok(Outcome::Done))
}

async fn redrive(tx: &mut Tx<'_>, wanted: &Redrive) -> Result<Result<Outcome>> {
    if let Some(earlier) = tx.batch.stored.replay(wanted.tenant, wanted.idempotency.as_ref()) {
        return Ok(earlier);
    }
    let found = row(tx.conn, LETTER, Cells::new().id(wanted.id.0).id(wanted.tenant.0)).await?;
    let Some(found) = found else {
        return Ok(Err(Error::not_found("dead_letter_not_found", "there is no such dead letter")));
    };
    if found.text(0)? == "resolved" {
        return Ok(Err(Error::conflict("dead_letter_resolved", "this dead letter was delivered already")));
    }
    execute(tx.conn, REDRIVE, Cells::new().id(wanted.id.0).int(wanted.at.0)).await?;
    tx.batch.note(wanted.audit.as_deref());
    let used = wanted.idempotency.as_ref();
    Ok(Ok(tx.batch.stored.keep(wanted.tenant, used, &wanted.response, wanted.at)))
}
