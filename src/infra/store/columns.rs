//! What stored columns are in the domain: numbers, ids, names of logs.

use uuid::Uuid;

use crate::domain::address::Address;
use crate::domain::error::{Error, Result};
use crate::domain::event::Log;

/// The number a log has in columns.
pub(crate) fn log_number(log: Log) -> i64 {
    match log {
        Log::DomainEvents => 0,
        Log::SessionCommands => 1,
    }
}

/// The log that has this number.
pub(crate) fn numbered_log(number: i64) -> Result<Log> {
    let log = Log::ALL.into_iter().find(|log| log_number(*log) == number);
    log.ok_or_else(|| Error::bug("a log of an unknown number"))
}

/// A limit as SQL takes it.
pub(crate) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// Reads columns by place.
pub(crate) trait Columns {
    fn opt_int(&self, column: usize) -> Result<Option<i64>>;
    fn opt_str(&self, column: usize) -> Result<Option<&str>>;
    fn opt_blob(&self, column: usize) -> Result<Option<&[u8]>>;

    fn int(&self, column: usize) -> Result<i64> {
        self.opt_int(column)?.ok_or_else(missing)
    }

    fn text(&self, column: usize) -> Result<&str> {
        self.opt_str(column)?.ok_or_else(missing)
    }

    fn opt_text(&self, column: usize) -> Result<Option<String>> {
        Ok(self.opt_str(column)?.map(str::to_owned))
    }

    fn blob(&self, column: usize) -> Result<&[u8]> {
        self.opt_blob(column)?.ok_or_else(missing)
    }

    fn id(&self, column: usize) -> Result<Uuid> {
        Uuid::from_slice(self.blob(column)?).map_err(Error::bug)
    }

    fn opt_id(&self, column: usize) -> Result<Option<Uuid>> {
        self.opt_blob(column)?.map(Uuid::from_slice).transpose().map_err(Error::bug)
    }

    fn opt_address(&self, column: usize) -> Result<Option<Address>> {
        self.opt_str(column)?.map(str::parse).transpose().map_err(Error::bug)
    }

    fn parsed<T: std::str::FromStr<Err = Error>>(&self, column: usize) -> Result<T> {
        self.text(column)?.parse().map_err(Error::bug)
    }
}

fn missing() -> Error {
    Error::bug("a column that is never null is null")
}

/// Whole numbers that columns hold as `integer` and the domain as something narrower.
pub(crate) fn narrow<T: TryFrom<i64>>(value: i64) -> Result<T> {
    T::try_from(value).map_err(|_out_of_range| Error::bug("a stored number is out of range"))
}
