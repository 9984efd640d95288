//! Queries of the connections that read.

use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteExecutor, SqliteRow};
use sqlx::{Arguments, Row};
use uuid::Uuid;

use crate::domain::error::{Error, Result};
use crate::domain::ids::SessionId;
use crate::infra::store::columns::Columns;

/// What every failure of the database itself is for a caller: nothing was applied, try again.
#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
#[expect(clippy::wildcard_enum_match_arm, reason = "kinds of a foreign enum that get the same answer")]
pub(super) fn failed(error: sqlx::Error) -> Error {
    match &error {
        sqlx::Error::Database(inner)
            if inner.is_unique_violation()
                || inner.is_check_violation()
                || inner.is_foreign_key_violation() =>
        {
            Error::bug(format!("a constraint refused a write: {}", inner.message()))
        }
        _ => Error::unavailable("store_unavailable", error.to_string()),
    }
}

/// The parameters of one statement, in order.
#[derive(Default)]
pub(super) struct Cells {
    arguments: SqliteArguments,
    failure: Option<BoxDynError>,
}

impl Cells {
    fn add<'t, T>(&mut self, value: T)
    where
        T: sqlx::Encode<'t, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        if let Err(error) = Arguments::add(&mut self.arguments, value) {
            self.failure.get_or_insert(error);
        }
    }

    pub(super) fn int(&mut self, value: i64) -> &mut Self {
        self.add(value);
        self
    }

    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        self.add(value);
        self
    }

    pub(super) fn opt_text(&mut self, value: Option<&str>) -> &mut Self {
        self.add(value);
        self
    }

    pub(super) fn blob(&mut self, value: &[u8]) -> &mut Self {
        self.add(value);
        self
    }

    pub(super) fn id(&mut self, value: Uuid) -> &mut Self {
        self.add(value.as_bytes().as_slice());
        self
    }

    pub(super) fn opt_id(&mut self, value: Option<Uuid>) -> &mut Self {
        self.add(value.as_ref().map(|id| id.as_bytes().as_slice()));
        self
    }

    /// Sessions that something must be among, as hexadecimal text with commas, for `instr`; null for all.
    pub(super) fn among(&mut self, sessions: Option<&[SessionId]>) -> &mut Self {
        let hex = |session: &SessionId| format!("{:X},", session.0.simple());
        let text = sessions.map(|sessions| sessions.iter().map(hex).collect::<String>());
        self.opt_text(text.as_deref())
    }

    fn done(self) -> Result<SqliteArguments> {
        match self.failure {
            Some(error) => Err(Error::bug(error)),
            None => Ok(self.arguments),
        }
    }
}

/// The rows of one statement with a few parameters.
pub(super) async fn rows<'c>(
    conn: impl SqliteExecutor<'c>,
    sql: &'static str,
    cells: impl FnOnce(&mut Cells),
) -> Result<Vec<SqliteRow>> {
    let mut values = Cells::default();
    cells(&mut values);
    sqlx::query_with(sql, values.done()?).fetch_all(conn).await.map_err(failed)
}

/// The first row of one statement with a few parameters.
pub(super) async fn row<'c>(
    conn: impl SqliteExecutor<'c>,
    sql: &'static str,
    cells: impl FnOnce(&mut Cells),
) -> Result<Option<SqliteRow>> {
    Ok(rows(conn, sql, cells).await?.into_iter().next())
}

impl Columns for SqliteRow {
    fn opt_int(&self, column: usize) -> Result<Option<i64>> {
        self.try_get(column).map_err(failed)
    }

    fn opt_str(&self, column: usize) -> Result<Option<&str>> {
        self.try_get(column).map_err(failed)
    }

    fn opt_blob(&self, column: usize) -> Result<Option<&[u8]>> {
        self.try_get(column).map_err(failed)
    }
}
