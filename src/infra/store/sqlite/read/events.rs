//! The logs, as far as they are numbered.

use std::sync::Arc;

use sqlx::sqlite::{SqlitePool, SqliteRow};

use crate::domain::data::Data;
use crate::domain::error::Result;
use crate::domain::event::{Entry, Event, Log};
use crate::domain::ids::{EventId, Position, SessionId, Shard, TenantId};
use crate::domain::time::Timestamp;
use crate::domain::view::{EventFilter, LogHead};
use crate::infra::store::sqlite::sql::{Columns, limit, log_number, narrow, row, rows};

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
     and (?5 is null or session_id = ?5) and (?6 is null or type in (select value from json_each(?6))) \
     order by position limit ?7"
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
        cells.opt_text(kinds.as_deref()).int(limit(most));
    })
    .await?;
    let events = found.iter().map(event).collect::<Result<Vec<_>>>()?;
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
    let entry = |row: &SqliteRow| {
        let event = event(row)?;
        Ok(Entry { position: event.position, event: Arc::new(event) })
    };
    found.iter().map(entry).collect()
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
    let Some(found) = found else { return Ok(LogHead::default()) };
    let head = found.int(0)?;
    let floor = found.opt_int(2)?.map_or(head, |oldest| oldest - 1);
    Ok(LogHead { head: Position(head), unstamped: found.int(1)?, floor: Position(floor) })
}

/// A row of `select!`.
pub(in crate::infra::store::sqlite) fn event(row: &impl Columns) -> Result<Event> {
    Ok(Event {
        event_id: EventId(row.id(0)?),
        kind: row.text(1)?.to_owned(),
        version: narrow(row.int(2)?)?,
        tenant_id: TenantId(row.id(3)?),
        session_id: SessionId(row.id(4)?),
        seq: row.int(5)?,
        position: Position(row.int(6)?),
        occurred_at: Timestamp(row.int(7)?),
        data: Data::stored(row.text(8)?)?,
    })
}
