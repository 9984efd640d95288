//! The tables' history, embedded: run forward at every open, under a lock that nodes starting at once wait for.

use sqlx::postgres::PgConnection;

use crate::domain::error::Result;
use crate::infra::store::history::{Step, migrator, refused};

const ALL: [Step; 4] = [
    (
        1,
        "tables",
        include_str!("../../../../migrations/postgres/0001_tables.up.sql"),
        include_str!("../../../../migrations/postgres/0001_tables.down.sql"),
    ),
    (
        2,
        "nodes",
        include_str!("../../../../migrations/postgres/0002_nodes.up.sql"),
        include_str!("../../../../migrations/postgres/0002_nodes.down.sql"),
    ),
    (
        3,
        "people",
        include_str!("../../../../migrations/postgres/0003_people.up.sql"),
        include_str!("../../../../migrations/postgres/0003_people.down.sql"),
    ),
    (
        4,
        "pacing",
        include_str!("../../../../migrations/postgres/0004_pacing.up.sql"),
        include_str!("../../../../migrations/postgres/0004_pacing.down.sql"),
    ),
];

/// Brings the tables to the newest version.
pub(super) async fn forward(conn: &mut PgConnection) -> Result<()> {
    migrator(&ALL).run_direct(None, conn, false).await.map_err(refused)
}

/// Takes the tables back to `version`; 0 removes them all.
pub(super) async fn back(conn: &mut PgConnection, version: i64) -> Result<()> {
    migrator(&ALL).undo(conn, version).await.map_err(refused)
}
