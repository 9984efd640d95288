//! The tables' history, embedded: run forward at every open, reversible one by one.

use std::borrow::Cow;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnection;

use crate::domain::error::{Error, Result};

/// Number, name, up, down.
const ALL: [(i64, &str, &str, &str); 2] = [
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
];

fn migrator() -> Migrator {
    let both = |(number, name, up, down): (i64, &'static str, &'static str, &'static str)| {
        let step = |kind, sql: &'static str| {
            Migration::new(number, Cow::Borrowed(name), kind, sql.into_sql_str(), false)
        };
        [step(MigrationType::ReversibleUp, up), step(MigrationType::ReversibleDown, down)]
    };
    Migrator::with_migrations(ALL.into_iter().flat_map(both).collect())
}

/// The number of the last one.
pub(in crate::infra::store) fn newest() -> i64 {
    ALL.iter().map(|(number, ..)| *number).max().unwrap_or_default()
}

/// Brings the tables to the newest version.
pub(super) async fn forward(conn: &mut SqliteConnection) -> Result<()> {
    migrator().run_direct(None, conn, false).await.map_err(refused)
}

/// Takes the tables back to `version`; 0 removes them all.
pub(super) async fn back(conn: &mut SqliteConnection, version: i64) -> Result<()> {
    migrator().undo(conn, version).await.map_err(refused)
}

/// Time may mend a server that is away, but not tables that another program made.
fn refused(error: sqlx::migrate::MigrateError) -> Error {
    use sqlx::migrate::MigrateError as Refusal;
    let foreign = matches!(
        error,
        Refusal::VersionMissing(_)
            | Refusal::VersionMismatch(_)
            | Refusal::VersionTooNew(..)
            | Refusal::Dirty(_)
    );
    let text = error.to_string();
    if foreign {
        return Error::conflict("store_of_another_version", text);
    }
    Error::unavailable("store_not_migrated", text)
}
