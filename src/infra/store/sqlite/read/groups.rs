//! Where consumer groups stand, and what they gave up on.

use sqlx::sqlite::SqlitePool;
use uuid::Uuid;

use crate::domain::error::Result;
use crate::domain::event::Log;
use crate::domain::ids::{Position, Shard, TenantId};
use crate::domain::view::{DeadLetterView, GroupState, Page, PageRequest, Redriving};
use crate::infra::store::columns::{Columns, limit, log_number};
use crate::infra::store::paging::{cut, id_mark, wanted};
use crate::infra::store::sqlite::sql::{failed, row, rows};
use crate::infra::store::views;

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
    Ok(GroupState {
        cursor: Position(cursor),
        inbox: inbox.iter().map(|row| Ok(Position(row.int(0)?))).collect::<Result<_>>()?,
        waiting: waiting.iter().map(views::delivery).collect::<Result<_>>()?,
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
    found.iter().map(views::redriving).collect()
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
    let letters = found.iter().map(views::dead_letter).collect::<Result<Vec<_>>>()?;
    Ok(cut(letters, page, |view| view.dead_letter_id.to_string()))
}
