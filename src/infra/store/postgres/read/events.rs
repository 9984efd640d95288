//! The logs, as far as they are numbered.

use sqlx::postgres::PgConnection;

use crate::domain::error::Result;
use crate::domain::event::{Entry, Event, Log};
use crate::domain::ids::{Position, Shard};
use crate::domain::view::{EventFilter, LogHead};
use crate::infra::store::columns::{Columns, limit, log_number};
use crate::infra::store::postgres::sql::{Cells, row, rows};
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
pub(in crate::infra::store::postgres) const AT_POSITION: &str =
    select!("shard = $1 and log = $2 and position = $3");
const AFTER: &str = select!("shard = $1 and log = $2 and position > $3 order by position limit $4");
const FILTERED: &str = select!(
    "shard = $1 and log = 0 and position > $2 and position <= $3 and ($4 is null or tenant_id = $4) \
     and ($5 is null or (session_id = $5 and session_id <> tenant_id)) \
     and (cardinality($6) = 0 or type = any($6)) and ($7 or substr(type, 1, 5) <> 'user.') \
     order by position limit $8"
);
const HEAD: &str = "select coalesce((select head from relays where shard = $1 and log = $2), 0), \
    (select count(*) from outbox where shard = $1 and log = $2), \
    (select min(position) from events where shard = $1 and log = $2)";
const HEAD_ONLY: &str = "select head from relays where shard = $1 and log = $2";

/// Domain events above a position that pass the filter, and the position read up to.
pub(in crate::infra::store::postgres) async fn filtered(
    conn: &mut PgConnection,
    shard: Shard,
    filter: &EventFilter,
    (after, most): (Position, usize),
) -> Result<(Vec<Event>, Position)> {
    let head =
        row(conn, HEAD_ONLY, Cells::new().int(i64::from(shard.0)).int(log_number(Log::DomainEvents))).await?;
    let head = Position(head.map_or(Ok(0), |row| row.int(0))?);
    if head <= after {
        return Ok((Vec::new(), after));
    }
    let upto = head.min(after.plus(WINDOW));
    let found = rows(
        conn,
        FILTERED,
        Cells::new()
            .int(i64::from(shard.0))
            .int(after.0)
            .int(upto.0)
            .opt_id(filter.tenant.map(|id| id.0))
            .opt_id(filter.session.map(|id| id.0))
            .texts(filter.kinds.iter().map(String::as_str))
            .flag(filter.people)
            .int(limit(most)),
    )
    .await?;
    let events = found.iter().map(views::event).collect::<Result<Vec<_>>>()?;
    let full = events.len() >= most;
    let read = events.last().filter(|_| full).map_or(upto, |last| last.position);
    Ok((events, read))
}

/// Numbered rows above a position.
pub(in crate::infra::store::postgres) async fn after(
    conn: &mut PgConnection,
    (shard, log): (Shard, Log),
    after: Position,
    most: usize,
) -> Result<Vec<Entry>> {
    let found = rows(
        conn,
        AFTER,
        Cells::new().int(i64::from(shard.0)).int(log_number(log)).int(after.0).int(limit(most)),
    )
    .await?;
    found.iter().map(views::entry).collect()
}

/// How far a log is.
pub(in crate::infra::store::postgres) async fn head(
    conn: &mut PgConnection,
    shard: Shard,
    log: Log,
) -> Result<LogHead> {
    let found = row(conn, HEAD, Cells::new().int(i64::from(shard.0)).int(log_number(log))).await?;
    found.as_ref().map_or_else(|| Ok(LogHead::default()), views::head)
}
