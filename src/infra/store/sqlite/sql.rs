//! Statements over many rows: each is prepared once per power of two, so that a batch of any size is a handful of
//! calls and nothing is parsed twice.

#![allow(clippy::wildcard_enum_match_arm, reason = "kinds of a foreign enum that get the same answer")]

use std::sync::{Arc, OnceLock};

use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Row};
use uuid::Uuid;

use crate::domain::address::Address;
use crate::domain::error::{Error, Result};
use crate::domain::event::Log;

/// The most rows of one statement, as a power of two.
const SIZES: usize = 8;

/// What every failure of the database itself is for a caller: nothing was applied, try again.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
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

/// The number a log has in columns.
pub(super) fn log_number(log: Log) -> i64 {
    match log {
        Log::DomainEvents => 0,
        Log::SessionCommands => 1,
    }
}

/// A limit as SQL takes it.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
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

    pub(super) fn opt_int(&mut self, value: Option<i64>) -> &mut Self {
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

    fn done(self) -> Result<SqliteArguments> {
        match self.failure {
            Some(error) => Err(Error::bug(error)),
            None => Ok(self.arguments),
        }
    }
}

/// `head (?, ?), (?, ?)… tail`, for any number of rows.
pub(super) struct Bulk {
    head: &'static str,
    columns: usize,
    tail: &'static str,
    sizes: [OnceLock<Arc<str>>; SIZES],
}

impl Bulk {
    pub(super) const fn new(head: &'static str, columns: usize, tail: &'static str) -> Self {
        Self { head, columns, tail, sizes: [const { OnceLock::new() }; SIZES] }
    }

    /// The statement for 2^`power` rows.
    pub(super) fn sql(&self, power: usize) -> Arc<str> {
        let make = || {
            let row = format!("({})", vec!["?"; self.columns].join(", "));
            let rows = vec![row; 1 << power].join(", ");
            format!("{}{rows}{}", self.head, self.tail).into()
        };
        self.sizes.get(power).map_or_else(make, |slot| slot.get_or_init(make).clone())
    }

    /// Cuts `rows` into statements of a power of two rows each; `after` adds what the tail needs.
    fn statements<T>(
        &self,
        rows: &[T],
        cells: impl Fn(&T, &mut Cells),
        after: impl Fn(&mut Cells),
    ) -> Result<Vec<(Arc<str>, SqliteArguments)>> {
        let mut statements = Vec::new();
        let mut rest = rows;
        while !rest.is_empty() {
            let power = (rest.len().ilog2() as usize).min(SIZES - 1);
            let (chunk, more) = rest.split_at(1 << power);
            rest = more;
            let mut values = Cells::default();
            Arguments::reserve(&mut values.arguments, chunk.len() * self.columns + 2, 0);
            for row in chunk {
                cells(row, &mut values);
            }
            after(&mut values);
            statements.push((self.sql(power), values.done()?));
        }
        Ok(statements)
    }

    /// Runs for every row; returns how many rows of the table changed.
    pub(super) async fn execute<T>(
        &self,
        conn: &mut SqliteConnection,
        rows: &[T],
        cells: impl Fn(&T, &mut Cells),
    ) -> Result<u64> {
        let statements = self.statements(rows, cells, |_none| ())?;
        execute_all(conn, statements).await
    }

    /// Runs for every row and gathers what is selected.
    pub(super) async fn fetch<T>(
        &self,
        conn: &mut SqliteConnection,
        rows: &[T],
        cells: impl Fn(&T, &mut Cells),
    ) -> Result<Vec<SqliteRow>> {
        let statements = self.statements(rows, cells, |_none| ())?;
        fetch_all(conn, statements).await
    }

    /// Like [`Self::fetch`], with one more parameter at the end of each statement.
    pub(super) async fn fetch_with<T>(
        &self,
        conn: &mut SqliteConnection,
        rows: &[T],
        cells: impl Fn(&T, &mut Cells),
        last: i64,
    ) -> Result<Vec<SqliteRow>> {
        let statements = self.statements(rows, cells, |values| {
            values.int(last);
        })?;
        fetch_all(conn, statements).await
    }
}

async fn execute_all(
    conn: &mut SqliteConnection,
    statements: Vec<(Arc<str>, SqliteArguments)>,
) -> Result<u64> {
    let mut changed = 0;
    for (sql, arguments) in statements {
        let done = sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut *conn).await;
        changed += done.map_err(failed)?.rows_affected();
    }
    Ok(changed)
}

async fn fetch_all(
    conn: &mut SqliteConnection,
    statements: Vec<(Arc<str>, SqliteArguments)>,
) -> Result<Vec<SqliteRow>> {
    let mut found = Vec::new();
    for (sql, arguments) in statements {
        let rows = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_all(&mut *conn).await;
        let rows = rows.map_err(failed)?;
        if found.is_empty() {
            found = rows;
        } else {
            found.extend(rows);
        }
    }
    Ok(found)
}

/// One statement with a few parameters.
pub(super) async fn execute(
    conn: &mut SqliteConnection,
    sql: &'static str,
    cells: impl FnOnce(&mut Cells),
) -> Result<u64> {
    let mut values = Cells::default();
    cells(&mut values);
    let done = sqlx::query_with(sql, values.done()?).execute(conn).await;
    Ok(done.map_err(failed)?.rows_affected())
}

/// The rows of one statement with a few parameters.
pub(super) async fn rows<'c, C>(
    conn: C,
    sql: &'static str,
    cells: impl FnOnce(&mut Cells),
) -> Result<Vec<SqliteRow>>
where
    C: sqlx::Executor<'c, Database = sqlx::Sqlite>,
{
    let mut values = Cells::default();
    cells(&mut values);
    sqlx::query_with(sql, values.done()?).fetch_all(conn).await.map_err(failed)
}

/// The first row of one statement with a few parameters.
pub(super) async fn row<'c, C>(
    conn: C,
    sql: &'static str,
    cells: impl FnOnce(&mut Cells),
) -> Result<Option<SqliteRow>>
where
    C: sqlx::Executor<'c, Database = sqlx::Sqlite>,
{
    Ok(rows(conn, sql, cells).await?.into_iter().next())
}

/// Reads columns by place.
pub(super) trait Columns {
    fn int(&self, column: usize) -> Result<i64>;
    fn opt_int(&self, column: usize) -> Result<Option<i64>>;
    fn text(&self, column: usize) -> Result<&str>;
    fn opt_text(&self, column: usize) -> Result<Option<String>>;
    fn blob(&self, column: usize) -> Result<&[u8]>;
    fn id(&self, column: usize) -> Result<Uuid>;
    fn opt_id(&self, column: usize) -> Result<Option<Uuid>>;
    fn opt_address(&self, column: usize) -> Result<Option<Address>>;
    fn parsed<T: std::str::FromStr<Err = Error>>(&self, column: usize) -> Result<T>;
}

impl Columns for SqliteRow {
    fn int(&self, column: usize) -> Result<i64> {
        self.try_get(column).map_err(failed)
    }

    fn opt_int(&self, column: usize) -> Result<Option<i64>> {
        self.try_get(column).map_err(failed)
    }

    fn text(&self, column: usize) -> Result<&str> {
        self.try_get(column).map_err(failed)
    }

    fn opt_text(&self, column: usize) -> Result<Option<String>> {
        self.try_get(column).map_err(failed)
    }

    fn blob(&self, column: usize) -> Result<&[u8]> {
        self.try_get(column).map_err(failed)
    }

    fn id(&self, column: usize) -> Result<Uuid> {
        Uuid::from_slice(self.blob(column)?).map_err(Error::bug)
    }

    fn opt_id(&self, column: usize) -> Result<Option<Uuid>> {
        let bytes: Option<&[u8]> = self.try_get(column).map_err(failed)?;
        bytes.map(Uuid::from_slice).transpose().map_err(Error::bug)
    }

    fn opt_address(&self, column: usize) -> Result<Option<Address>> {
        let text: Option<&str> = self.try_get(column).map_err(failed)?;
        text.map(str::parse).transpose().map_err(Error::bug)
    }

    fn parsed<T: std::str::FromStr<Err = Error>>(&self, column: usize) -> Result<T> {
        self.text(column)?.parse().map_err(Error::bug)
    }
}

/// Whole numbers that columns hold as `integer` and the domain as something narrower.
pub(super) fn narrow<T: TryFrom<i64>>(value: i64) -> Result<T> {
    T::try_from(value).map_err(|_out_of_range| Error::bug("a stored number is out of range"))
}
