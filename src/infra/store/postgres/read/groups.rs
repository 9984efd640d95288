//! Where consumer groups stand, and what they gave up on.

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::domain::error::Result;
use crate::domain::event::Log;
use crate::domain::ids::{Position, Shard, TenantId};
use crate::domain::view::{DeadLetterView, GroupState, Page, PageRequest, Redriving};
use crate::infra::store::columns::{Columns, limit, log_number};
use crate::infra::store::paging::{cut, id_mark, wanted};
use crate::infra::store::postgres::sql::{Cells, plain, row, rows};
use crate::infra::store::views;

const CURSOR: &str = "select position from cursors where shard = $1 and log = $2 and group_name = $3";
const INBOX: &str = "select position from inbox where shard = $1 and log = $2 and group_name = $3 and position > $4 order by position";
const WAITING: &str = "select position, event_id, attempts, next_at from deliveries \
    where shard = $1 and log = $2 and group_name = $3 and position > $4 order by position";
const REDRIVING: &str = "select id, event from dead_letters \
    where shard = $1 and log = $2 and group_name = $3 and state = 'redriving' order by id limit $4";
const LETTERS: &str = "select id, group_name, state, attempts, error, buried_at, event from dead_letters \
    where tenant_id = $1 and id < $2 and ($3 is null or state = $3) order by id desc limit $4";

/// Where a group stands, as of one moment.
pub(in crate::infra::store::postgres) async fn state(
    conn: &mut PgConnection,
    shard: Shard,
    log: Log,
    group: &str,
) -> Result<GroupState> {
    plain(conn, "begin isolation level repeatable read read only").await?;
    let (shard, log) = (i64::from(shard.0), log_number(log));
    let cursor = row(conn, CURSOR, Cells::new().int(shard).int(log).text(group)).await?;
    let cursor = cursor.map_or(Ok(0), |row| row.int(0))?;
    let inbox = rows(conn, INBOX, Cells::new().int(shard).int(log).text(group).int(cursor)).await?;
    let waiting = rows(conn, WAITING, Cells::new().int(shard).int(log).text(group).int(cursor)).await?;
    plain(conn, "commit").await?;
    Ok(GroupState {
        cursor: Position(cursor),
        inbox: inbox.iter().map(|row| Ok(Position(row.int(0)?))).collect::<Result<_>>()?,
        waiting: waiting.iter().map(views::delivery).collect::<Result<_>>()?,
    })
}

/// Dead letters on their way to the group again, oldest first.
pub(in crate::infra::store::postgres) async fn redriving(
    conn: &mut PgConnection,
    (shard, log): (Shard, Log),
    group: &str,
    most: usize,
) -> Result<Vec<Redriving>> {
    let found = rows(
        conn,
        REDRIVING,
        Cells::new().int(i64::from(shard.0)).int(log_number(log)).text(group).int(limit(most)),
    )
    .await?;
    found.iter().map(views::redriving).collect()
}

/// Dead letters of a tenant, newest first.
pub(in crate::infra::store::postgres) async fn dead_letters(
    conn: &mut PgConnection,
    tenant: TenantId,
    state: Option<&str>,
    page: &PageRequest,
) -> Result<Page<DeadLetterView>> {
    let before = id_mark(page)?.unwrap_or(Uuid::max());
    let found =
        rows(conn, LETTERS, Cells::new().id(tenant.0).id(before).opt_text(state).int(wanted(page))).await?;
    let letters = found.iter().map(views::dead_letter).collect::<Result<Vec<_>>>()?;
    Ok(cut(letters, page, |view| view.dead_letter_id.to_string()))
}
