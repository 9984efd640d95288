//! Partitions: made ahead of time, dropped when all of one is old enough and nobody needs it any more.
//!
//! Promises: nothing without a position goes (it waits in `outbox`, which has no partitions); nothing that a group has yet
//! to handle goes; what is left of a log has no gap. A step waits for a table no longer than [`WAIT`] allows, because
//! others wait behind it.

use std::time::Duration;

use sqlx::postgres::PgConnection;

use super::settings::Settings;
use super::sql::{CONTENDED, Cells, plain, row};
use crate::domain::error::{Error, Result};
use crate::domain::time::Timestamp;
use crate::infra::store::columns::Columns;

/// How many partitions there are beyond the one in use.
const AHEAD: i64 = 2;

/// How many names of messages one step forgets.
const STEP: i64 = 10_000;

/// How long a step may wait for a table, with everybody else behind it.
const WAIT: &str = "begin; set local lock_timeout = '1s'";

const MAKE: &str = "select recado_make_partitions($1, $2, $3::int)";
const DROP_EVENTS: &str = "select recado_drop_events($1)::int";
const DROP_MESSAGES: &str = "select recado_drop_messages($1, $2::int)::int";

/// The partitions to come.
pub(super) async fn prepare(conn: &mut PgConnection, settings: &Settings, at: Timestamp) -> Result<()> {
    alone(conn, MAKE, make(settings, at)).await.map(drop)
}

fn make(settings: &Settings, at: Timestamp) -> Cells {
    let span = i64::try_from(settings.partition.as_millis()).unwrap_or(i64::MAX).max(1_000);
    Cells::new().int(at.0).int(span).int(AHEAD)
}

/// One step; how much it did: more may wait when it is not 0.
pub(super) async fn step(conn: &mut PgConnection, settings: &Settings, at: Timestamp) -> Result<usize> {
    let mut done = alone(conn, MAKE, make(settings, at)).await?;
    let before = |kept: Duration| Cells::new().int(at.before(kept).0);
    if let Some(kept) = settings.keep_events {
        done += alone(conn, DROP_EVENTS, before(kept)).await?;
    }
    if let Some(kept) = settings.keep_messages {
        done += alone(conn, DROP_MESSAGES, before(kept).int(STEP)).await?;
    }
    usize::try_from(done).map_err(Error::bug)
}

/// One transaction; nothing was done when others were in the way.
async fn alone(conn: &mut PgConnection, sql: &'static str, cells: Cells) -> Result<i64> {
    plain(conn, WAIT).await?;
    match row(conn, sql, cells).await {
        Ok(found) => {
            plain(conn, "commit").await?;
            found.map_or(Ok(0), |row| row.int(0))
        }
        Err(error) if error.code == CONTENDED => {
            tracing::info!(%error, "a partition is left for later");
            plain(conn, "rollback").await?;
            Ok(0)
        }
        Err(error) => Err(error),
    }
}
