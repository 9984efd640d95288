//! Statements of the connection that writes: prepared once, run row after row.
//!
//! They block, and run on the [`super::writer`]'s thread only. A row costs a few microseconds here, and a batch no
//! change of thread: through an asynchronous driver the hand-over of each statement cost more than the statement.

use rusqlite::types::{ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{CachedStatement, Connection};
use uuid::Uuid;

use crate::domain::error::{Error, Result};
use crate::infra::store::columns::Columns;

/// What every failure of the database itself is for a caller: nothing was applied, try again.
#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
pub(super) fn failed(error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => {
            Error::bug(format!("a constraint refused a write: {error}"))
        }
        Some(_) | None => Error::unavailable("store_unavailable", error.to_string()),
    }
}

/// The parameters of one statement, in order.
pub(super) struct Cells<'s, 'c> {
    statement: &'s mut CachedStatement<'c>,
    bound: usize,
    failure: Option<rusqlite::Error>,
}

impl<'s, 'c> Cells<'s, 'c> {
    /// Binds what `fill` gives.
    fn bind(statement: &'s mut CachedStatement<'c>, fill: impl FnOnce(&mut Self)) -> Result<()> {
        let mut cells = Self { statement, bound: 0, failure: None };
        fill(&mut cells);
        cells.failure.map_or(Ok(()), |error| Err(failed(error)))
    }

    fn add(&mut self, value: impl ToSql) -> &mut Self {
        self.bound += 1;
        if let Err(error) = self.statement.raw_bind_parameter(self.bound, value) {
            self.failure.get_or_insert(error);
        }
        self
    }

    pub(super) fn int(&mut self, value: i64) -> &mut Self {
        self.add(value)
    }

    pub(super) fn opt_int(&mut self, value: Option<i64>) -> &mut Self {
        self.add(value)
    }

    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        self.add(value)
    }

    pub(super) fn opt_text(&mut self, value: Option<&str>) -> &mut Self {
        self.add(value)
    }

    pub(super) fn blob(&mut self, value: &[u8]) -> &mut Self {
        self.add(value)
    }

    pub(super) fn id(&mut self, value: Uuid) -> &mut Self {
        self.add(Bytes(value))
    }

    pub(super) fn opt_id(&mut self, value: Option<Uuid>) -> &mut Self {
        self.add(value.map(Bytes))
    }
}

/// An id as the tables hold it.
struct Bytes(Uuid);

impl ToSql for Bytes {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.0.as_bytes())))
    }
}

/// Runs a statement for every row; returns how many rows of the table changed.
pub(super) fn each<T>(
    conn: &Connection,
    sql: &'static str,
    rows: &[T],
    cells: impl Fn(&T, &mut Cells<'_, '_>),
) -> Result<usize> {
    if rows.is_empty() {
        return Ok(0);
    }
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let mut changed = 0;
    for row in rows {
        Cells::bind(&mut statement, |values| cells(row, values))?;
        changed += statement.raw_execute().map_err(failed)?;
    }
    Ok(changed)
}

/// Runs a query for every row and gathers what is selected.
pub(super) fn fetch<T>(
    conn: &Connection,
    sql: &'static str,
    rows: &[T],
    cells: impl Fn(&T, &mut Cells<'_, '_>),
) -> Result<Vec<Row>> {
    let mut found = Vec::new();
    if rows.is_empty() {
        return Ok(found);
    }
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    for row in rows {
        Cells::bind(&mut statement, |values| cells(row, values))?;
        gather(&mut statement, &mut found)?;
    }
    Ok(found)
}

/// One statement with a few parameters.
pub(super) fn execute(
    conn: &Connection,
    sql: &'static str,
    cells: impl FnOnce(&mut Cells<'_, '_>),
) -> Result<usize> {
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    Cells::bind(&mut statement, cells)?;
    statement.raw_execute().map_err(failed)
}

/// The rows of one statement with a few parameters.
pub(super) fn rows(
    conn: &Connection,
    sql: &'static str,
    cells: impl FnOnce(&mut Cells<'_, '_>),
) -> Result<Vec<Row>> {
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    Cells::bind(&mut statement, cells)?;
    let mut found = Vec::new();
    gather(&mut statement, &mut found)?;
    Ok(found)
}

/// The first row of one statement with a few parameters.
pub(super) fn row(
    conn: &Connection,
    sql: &'static str,
    cells: impl FnOnce(&mut Cells<'_, '_>),
) -> Result<Option<Row>> {
    Ok(rows(conn, sql, cells)?.into_iter().next())
}

fn gather(statement: &mut CachedStatement<'_>, found: &mut Vec<Row>) -> Result<()> {
    let columns = statement.column_count();
    let mut selected = statement.raw_query();
    while let Some(row) = selected.next().map_err(failed)? {
        let values = (0..columns).map(|column| row.get(column)).collect::<rusqlite::Result<_>>();
        found.push(Row(values.map_err(failed)?));
    }
    Ok(())
}

/// A selected row.
pub(super) struct Row(Vec<Value>);

impl Row {
    fn wrong<T>() -> Result<T> {
        Err(Error::bug("a column holds something else than the statement says"))
    }
}

impl Columns for Row {
    fn opt_int(&self, column: usize) -> Result<Option<i64>> {
        match self.0.get(column) {
            Some(Value::Integer(number)) => Ok(Some(*number)),
            Some(Value::Null) => Ok(None),
            Some(Value::Real(_) | Value::Text(_) | Value::Blob(_)) | None => Self::wrong(),
        }
    }

    fn opt_str(&self, column: usize) -> Result<Option<&str>> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            Some(Value::Real(_) | Value::Integer(_) | Value::Blob(_)) | None => Self::wrong(),
        }
    }

    fn opt_blob(&self, column: usize) -> Result<Option<&[u8]>> {
        match self.0.get(column) {
            Some(Value::Blob(bytes)) => Ok(Some(bytes)),
            Some(Value::Null) => Ok(None),
            Some(Value::Real(_) | Value::Integer(_) | Value::Text(_)) | None => Self::wrong(),
        }
    }
}
