//! How far consumer groups are, in one call of a function in the database.
//!
//! Promises: all of them or nothing; whoever is told `false` goes the long way, which judges.

use std::collections::HashSet;

use sqlx::postgres::PgConnection;

use crate::domain::error::Result;
use crate::domain::write::Handled;
use crate::infra::store::columns::{limit, log_number};
use crate::infra::store::postgres::sql::{Cells, UNUSUAL, execute};

const CALL: &str = "select recado_handled($1, $2, $3, $4, $5, $6, $7, $8)";

/// Whether no group is told of twice: one statement changes a row once.
pub(super) fn apart(all: &[&Handled]) -> bool {
    let mut groups = HashSet::new();
    all.iter().all(|done| groups.insert((done.fence.shard, done.log, done.group.as_str())))
}

/// Stores them; `false` when they must be judged.
pub(super) async fn handled(conn: &mut PgConnection, all: &[&Handled]) -> Result<bool> {
    match execute(conn, CALL, cells(Cells::new(), all)).await {
        Ok(_rows) => Ok(true),
        Err(error) if error.code == UNUSUAL => Ok(false),
        Err(error) => Err(error),
    }
}

/// The parameters, behind others.
pub(super) fn cells(before: Cells, all: &[&Handled]) -> Cells {
    let above = || {
        all.iter().zip(1_usize..).flat_map(|(done, place)| {
            let above = done.above.iter().filter(|(position, _)| *position > done.cursor);
            above.map(move |(position, event)| (limit(place), position.0, event.0))
        })
    };
    before
        .ints(all.iter().map(|done| i64::from(done.fence.shard.0)))
        .ints(all.iter().map(|done| done.fence.epoch.0))
        .ints(all.iter().map(|done| log_number(done.log)))
        .texts(all.iter().map(|done| done.group.as_str()))
        .ints(all.iter().map(|done| done.cursor.0))
        .ints(above().map(|(place, _, _)| place))
        .ints(above().map(|(_, position, _)| position))
        .ids(above().map(|(_, _, event)| event))
}
