//! Where consumer groups stand, and what they gave up on.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use uuid::Uuid;

use super::{cut, id_mark, wanted};
use crate::domain::error::{Error, Result};
use crate::domain::event::Log;
use crate::domain::ids::{DeadLetterId, EventId, Position, Shard, TenantId};
use crate::domain::time::Timestamp;
use crate::domain::view::{DeadLetterView, DeliveryState, GroupState, Page, PageRequest, Redriving};
use crate::infra::store::sqlite::sql::{Columns, failed, limit, log_number, narrow, row, rows};

const CURSOR: &str = "select position from cursors where shard = ? and log = ? and group_name = ?";
const INBOX: &str = "select position from inbox where shard = ? and log = ? and group_name = ? and position > ? order by position";
const WAITING: &str = "select position, event_id, attempts, next_at from deliveries \
    where shard = ? and log = ? and group_name = ? and position > ? order by position";
const REDRIVING: &str = "select id, event from dead_letters \
    where shard = ? and log = ? and group_name = ? and state = 'redriving' order by id limit ?";
const LETTERS: &str = "select id, group_name, state, attempts, error, buried_at, event from dead_letters \
    where tenant_id = ?1 and id < ?2 and (?3 is null or state = ?3) order by id desc limit ?4";

/// Where a group stands, as of one moment.
pub(in crate::infra::store::sqlite) async fn state(
    pool: &SqlitePool,
    shard: Shard,
    log: Log,
    group: &str,
) -> Result<GroupState> {
    let mut tx = pool.begin().await.map_err(failed)?;
    let (shard, log) = (i64::from(shard.0), log_number(log));
    let cursor = row(&mut *tx, CURSOR, |cells| {
        cells.int(shard).int(log).text(group);
    })
    .await?;
    let cursor = cursor.map_or(Ok(0), |row| row.int(0))?;
    let inbox = rows(&mut *tx, INBOX, |cells| {
        cells.int(shard).int(log).text(group).int(cursor);
    })
    .await?;
    let waiting = rows(&mut *tx, WAITING, |cells| {
        cells.int(shard).int(log).text(group).int(cursor);
    })
    .await?;
    tx.rollback().await.map_err(failed)?;
    let delivery = |row: &SqliteRow| {
        let (attempts, next_at) = (narrow(row.int(2)?)?, Timestamp(row.int(3)?));
        Ok(DeliveryState { position: Position(row.int(0)?), event: EventId(row.id(1)?), attempts, next_at })
    };
    Ok(GroupState {
        cursor: Position(cursor),
        inbox: inbox.iter().map(|row| Ok(Position(row.int(0)?))).collect::<Result<_>>()?,
        waiting: waiting.iter().map(delivery).collect::<Result<_>>()?,
    })
}

/// Dead letters on their way to the group again, oldest first.
pub(in crate::infra::store::sqlite) async fn redriving(
    pool: &SqlitePool,
    (shard, log): (Shard, Log),
    group: &str,
    most: usize,
) -> Result<Vec<Redriving>> {
    let found = rows(pool, REDRIVING, |cells| {
        cells.int(i64::from(shard.0)).int(log_number(log)).text(group).int(limit(most));
    })
    .await?;
    let one = |row: &SqliteRow| {
        let event = serde_json::from_str(row.text(1)?).map_err(Error::bug)?;
        Ok(Redriving { id: DeadLetterId(row.id(0)?), event })
    };
    found.iter().map(one).collect()
}

/// Dead letters of a tenant, newest first.
pub(in crate::infra::store::sqlite) async fn dead_letters(
    pool: &SqlitePool,
    tenant: TenantId,
    state: Option<&str>,
    page: &PageRequest,
) -> Result<Page<DeadLetterView>> {
    let before = id_mark(page)?.unwrap_or(Uuid::max());
    let found = rows(pool, LETTERS, |cells| {
        cells.id(tenant.0).id(before).opt_text(state).int(wanted(page));
    })
    .await?;
    let view = |row: &SqliteRow| {
        Ok(DeadLetterView {
            dead_letter_id: DeadLetterId(row.id(0)?),
            group: row.text(1)?.to_owned(),
            state: row.text(2)?.to_owned(),
            attempts: narrow(row.int(3)?)?,
            error: row.text(4)?.to_owned(),
            buried_at: Timestamp(row.int(5)?),
            event: serde_json::from_str(row.text(6)?).map_err(Error::bug)?,
        })
    };
    let views = found.iter().map(view).collect::<Result<Vec<_>>>()?;
    Ok(cut(views, page, |view| view.dead_letter_id.to_string()))
}
