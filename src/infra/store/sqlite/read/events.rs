//! The logs, as far as they are numbered.

use sqlx::sqlite::SqlitePool;

use crate::domain::error::Result;
use crate::domain::event::{Entry, Event, Log};
use crate::domain::ids::{Position, Shard};
use crate::domain::view::{EventFilter, LogHead};
use crate::infra::store::columns::{Columns, limit, log_number};
use crate::infra::store::sqlite::sql::{row, rows};
use crate::infra::store::views;

/// How far one filtered query looks: a filter that nothing passes must not read the whole log.
const WINDOW: usize = 5_000;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select event_id, type, version, tenant_id, session_id, seq, position, occurred_at, data from events where ",
            $rest
        )
    };
}

/// One event by shard, log and position.
pub(in crate::infra::store::sqlite) const AT_POSITION: &str =
    select!("shard = ? and log = ? and position = ?");
const AFTER: &str = select!("shard = ? and log = ? and position > ? order by position limit ?");
const FILTERED: &str = select!(
    "shard = ?1 and log = 0 and position > ?2 and position <= ?3 and (?4 is null or tenant_id = ?4) \
     and (?5 is null or (session_id = ?5 and session_id <> tenant_id)) \
     and (?6 is null or type in (select value from json_each(?6))) and (?7 or substr(type, 1, 5) <> 'user.') \
     order by position limit ?8"
);
const HEAD: &str = "select coalesce((select head from relays where shard = ?1 and log = ?2), 0), \
    (select count(*) from events where shard = ?1 and log = ?2 and position is null), \
    (select min(position) from events where shard = ?1 and log = ?2 and position is not null)";
const HEAD_ONLY: &str = "select head from relays where shard = ? and log = ?";

/// Domain events above a position that pass the filter, and the position read up to.
pub(in crate::infra::store::sqlite) async fn filtered(
    pool: &SqlitePool,
    shard: Shard,
    filter: &EventFilter,
    (after, most): (Position, usize),
) -> Result<(Vec<Event>, Position)> {
    let head = row(pool, HEAD_ONLY, |cells| {
        cells.int(i64::from(shard.0)).int(log_number(Log::DomainEvents));
    })
    .await?;
    let head = Position(head.map_or(Ok(0), |row| row.int(0))?);
    if head <= after {
        return Ok((Vec::new(), after));
    }
    let upto = head.min(after.plus(WINDOW));
    let kinds = (!filter.kinds.is_empty()).then(|| serde_json::json!(filter.kinds).to_string());
    let found = rows(pool, FILTERED, |cells| {
        cells.int(i64::from(shard.0)).int(after.0).int(upto.0);
        cells.opt_id(filter.tenant.map(|id| id.0)).opt_id(filter.session.map(|id| id.0));
        cells.opt_text(kinds.as_deref()).int(i64::from(filter.people)).int(limit(most));
    })
    .await?;
    let events = found.iter().map(views::event).collect::<Result<Vec<_>>>()?;
    let full = events.len() >= most;
    let read = events.last().filter(|_| full).map_or(upto, |last| last.position);
    Ok((events, read))
}

/// Numbered rows above a position.
pub(in crate::infra::store::sqlite) async fn after(
    pool: &SqlitePool,
    (shard, log): (Shard, Log),
    after: Position,
    most: usize,
) -> Result<Vec<Entry>> {
    let found = rows(pool, AFTER, |cells| {
        cells.int(i64::from(shard.0)).int(log_number(log)).int(after.0).int(limit(most));
    })
    .await?;
    found.iter().map(views::entry).collect()
}

/// How far a log is.
pub(in crate::infra::store::sqlite) async fn head(
    pool: &SqlitePool,
    shard: Shard,
    log: Log,
) -> Result<LogHead> {
    let found = row(pool, HEAD, |cells| {
        cells.int(i64::from(shard.0)).int(log_number(log));
    })
    .await?;
    found.as_ref().map_or_else(|| Ok(LogHead::default()), views::head)
}
