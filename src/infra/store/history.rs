//! The tables' history as both dialects have it: numbered steps, each with its way back.

use std::borrow::Cow;

use sqlx::SqlSafeStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use crate::domain::error::Error;

/// Number, name, up, down.
pub(super) type Step = (i64, &'static str, &'static str, &'static str);

/// What runs these steps.
pub(super) fn migrator(steps: &[Step]) -> Migrator {
    let both = |&(number, name, up, down): &Step| {
        let step = |kind, sql: &'static str| {
            Migration::new(number, Cow::Borrowed(name), kind, sql.into_sql_str(), false)
        };
        [step(MigrationType::ReversibleUp, up), step(MigrationType::ReversibleDown, down)]
    };
    Migrator::with_migrations(steps.iter().flat_map(both).collect())
}

/// Time may mend a server that is away, but not tables that another program made.
#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
pub(super) fn refused(error: MigrateError) -> Error {
    let foreign = matches!(
        error,
        MigrateError::VersionMissing(_)
            | MigrateError::VersionMismatch(_)
            | MigrateError::VersionTooNew(..)
            | MigrateError::Dirty(_)
    );
    if foreign {
        return Error::conflict("store_of_another_version", error.to_string());
    }
    Error::unavailable("store_not_migrated", error.to_string())
}
