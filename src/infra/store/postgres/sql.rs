//! Statements: their parameters, their rows, and what a failure of the database is for a caller.

use std::borrow::Cow;

use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgConnection, PgHasArrayType, PgRow, Postgres};
use sqlx::{Arguments, Encode, Row, Type, ValueRef};
use uuid::Uuid;

use crate::domain::error::{Error, Result};
use crate::infra::store::columns::Columns;

/// The code of a failure after which the same transaction may well succeed: another one was in its way.
pub(super) const CONTENDED: &str = "store_contended";

/// The code of a refusal of `recado_accept`: it knows one case only, and this is another.
pub(super) const UNUSUAL: &str = "store_unusual";

/// The code of a failure of the connection: nothing more can be done with it.
pub(super) const GONE: &str = "store_unavailable";

/// What every failure of the database itself is for a caller: nothing was applied, try again.
#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
pub(super) fn failed(error: sqlx::Error) -> Error {
    let Some(inner) = error.as_database_error() else {
        return Error::unavailable(GONE, error.to_string());
    };
    let code = inner.code().unwrap_or_default();
    match code.as_ref() {
        // Deadlock, serialization failure, lock timeout, and a name that another transaction was first to use.
        "40P01" | "40001" | "55P03" | "23505" => {
            Error::unavailable(CONTENDED, format!("another transaction was in the way: {}", inner.message()))
        }
        "RC001" => Error::unavailable(UNUSUAL, inner.message()),
        "23514" | "23502" | "23503" => {
            Error::bug(format!("a constraint refused a write: {}", inner.message()))
        }
        code => Error::unavailable(GONE, format!("{} ({code})", inner.message())),
    }
}

/// The parameters of one statement, in order.
#[derive(Default)]
pub(super) struct Cells {
    arguments: PgArguments,
    failure: Option<BoxDynError>,
}

/// Text as Postgres can hold it: any but the character zero, which a phone may well send.
fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

impl Cells {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn add<'t, T: Encode<'t, Postgres> + Type<Postgres>>(mut self, value: T) -> Self {
        if let Err(error) = Arguments::add(&mut self.arguments, value) {
            self.failure.get_or_insert(error);
        }
        self
    }

    pub(super) fn int(self, value: i64) -> Self {
        self.add(value)
    }

    pub(super) fn opt_int(self, value: Option<i64>) -> Self {
        self.add(value)
    }

    pub(super) fn flag(self, value: bool) -> Self {
        self.add(value)
    }

    pub(super) fn text(self, value: &str) -> Self {
        self.add(clean(value).as_ref())
    }

    pub(super) fn opt_text(self, value: Option<&str>) -> Self {
        self.add(value.map(clean).as_deref())
    }

    pub(super) fn blob(self, value: &[u8]) -> Self {
        self.add(value)
    }

    pub(super) fn id(self, value: Uuid) -> Self {
        self.add(value)
    }

    pub(super) fn opt_id(self, value: Option<Uuid>) -> Self {
        self.add(value)
    }

    fn list<T>(self, values: impl Iterator<Item = T>) -> Self
    where
        T: for<'t> Encode<'t, Postgres> + Type<Postgres> + PgHasArrayType,
    {
        self.add(values.collect::<Vec<T>>())
    }

    pub(super) fn ints(self, values: impl Iterator<Item = i64>) -> Self {
        self.list(values)
    }

    pub(super) fn opt_ints(self, values: impl Iterator<Item = Option<i64>>) -> Self {
        self.list(values)
    }

    pub(super) fn flags(self, values: impl Iterator<Item = bool>) -> Self {
        self.list(values)
    }

    pub(super) fn ids(self, values: impl Iterator<Item = Uuid>) -> Self {
        self.list(values)
    }

    pub(super) fn opt_ids(self, values: impl Iterator<Item = Option<Uuid>>) -> Self {
        self.list(values)
    }

    pub(super) fn texts<'t>(self, values: impl Iterator<Item = &'t str>) -> Self {
        let values: Vec<_> = values.map(clean).collect();
        self.add(values.iter().map(AsRef::as_ref).collect::<Vec<&str>>())
    }

    pub(super) fn opt_texts<'t>(self, values: impl Iterator<Item = Option<&'t str>>) -> Self {
        let values: Vec<_> = values.map(|value| value.map(clean)).collect();
        self.add(values.iter().map(|value| value.as_deref()).collect::<Vec<Option<&str>>>())
    }

    pub(super) fn blobs<'t>(self, values: impl Iterator<Item = &'t [u8]>) -> Self {
        self.add(values.collect::<Vec<&[u8]>>())
    }

    pub(super) fn opt_blobs<'t>(self, values: impl Iterator<Item = Option<&'t [u8]>>) -> Self {
        self.add(values.collect::<Vec<Option<&[u8]>>>())
    }

    fn done(self) -> Result<PgArguments> {
        match self.failure {
            Some(error) => Err(Error::bug(error)),
            None => Ok(self.arguments),
        }
    }
}

/// The rows of one statement.
pub(super) async fn rows(conn: &mut PgConnection, sql: &'static str, cells: Cells) -> Result<Vec<PgRow>> {
    sqlx::query_with(sql, cells.done()?).fetch_all(conn).await.map_err(failed)
}

/// The first row of one statement.
pub(super) async fn row(conn: &mut PgConnection, sql: &'static str, cells: Cells) -> Result<Option<PgRow>> {
    Ok(rows(conn, sql, cells).await?.into_iter().next())
}

/// One statement; how many rows it changed.
pub(super) async fn execute(conn: &mut PgConnection, sql: &'static str, cells: Cells) -> Result<u64> {
    let done = sqlx::query_with(sql, cells.done()?).execute(conn).await.map_err(failed)?;
    Ok(done.rows_affected())
}

/// Several statements without parameters at once.
pub(super) async fn plain(conn: &mut PgConnection, sql: &'static str) -> Result<()> {
    sqlx::raw_sql(sql).execute(conn).await.map_err(failed).map(drop)
}

/// The bytes of a column.
fn raw(row: &PgRow, column: usize) -> Result<Option<&[u8]>> {
    let value = row.try_get_raw(column).map_err(failed)?;
    if value.is_null() { Ok(None) } else { value.as_bytes().map(Some).map_err(Error::bug) }
}

impl Columns for PgRow {
    fn opt_int(&self, column: usize) -> Result<Option<i64>> {
        let Some(bytes) = raw(self, column)? else { return Ok(None) };
        let number = match *bytes {
            [a] => i64::from(a),
            [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            _ => return Err(Error::bug("a column holds something else than the statement says")),
        };
        Ok(Some(number))
    }

    fn opt_str(&self, column: usize) -> Result<Option<&str>> {
        raw(self, column)?.map(std::str::from_utf8).transpose().map_err(Error::bug)
    }

    fn opt_blob(&self, column: usize) -> Result<Option<&[u8]>> {
        raw(self, column)
    }
}
