//! The tables' history, embedded: run forward at every open, reversible one by one.

use sqlx::sqlite::SqliteConnection;

use crate::domain::error::Result;
use crate::infra::store::history::{Step, migrator, refused};

const ALL: [Step; 4] = [
    (
        1,
        "tables",
        include_str!("../../../../migrations/sqlite/0001_tables.up.sql"),
        include_str!("../../../../migrations/sqlite/0001_tables.down.sql"),
    ),
    (
        2,
        "nodes",
        include_str!("../../../../migrations/sqlite/0002_nodes.up.sql"),
        include_str!("../../../../migrations/sqlite/0002_nodes.down.sql"),
    ),
    (
        3,
        "people",
        include_str!("../../../../migrations/sqlite/0003_people.up.sql"),
        include_str!("../../../../migrations/sqlite/0003_people.down.sql"),
    ),
    (
        4,
        "pacing",
        include_str!("../../../../migrations/sqlite/0004_pacing.up.sql"),
        include_str!("../../../../migrations/sqlite/0004_pacing.down.sql"),
    ),
];

/// The number of the last one.
pub(in crate::infra::store) fn newest() -> i64 {
    ALL.iter().map(|(number, ..)| *number).max().unwrap_or_default()
}

/// Brings the tables to the newest version.
pub(super) async fn forward(conn: &mut SqliteConnection) -> Result<()> {
    migrator(&ALL).run_direct(None, conn, false).await.map_err(refused)
}

/// Takes the tables back to `version`; 0 removes them all.
pub(super) async fn back(conn: &mut SqliteConnection, version: i64) -> Result<()> {
    migrator(&ALL).undo(conn, version).await.map_err(refused)
}
