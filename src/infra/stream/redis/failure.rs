//! What an error of Redis means to us.
//!
//! Promises: a lost connection, a late answer and a server that is not ready are `Unavailable`; a group that is gone is
//! `NotFound`; no address, name or password of the server is in any message.

use redis::{ErrorKind, RedisError};

use crate::domain::error::{Error, Result};

/// The code of the error for a group that is there already.
pub(super) const GROUP_EXISTS: &str = "group_exists";

/// An error that came as an answer, or instead of one.
pub(super) fn told(error: &RedisError) -> Error {
    let Some(code) = error.code() else { return lost(error) };
    match code {
        "NOGROUP" => Error::not_found("no_group", "the stream does not know this group"),
        "BUSYGROUP" => Error::conflict(GROUP_EXISTS, "the stream has this group already"),
        "WRONGTYPE" => Error::conflict("stream_key_taken", "the stream's key holds something else"),
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => denied(),
        "ERR" | "CROSSSLOT" | "EXECABORT" => {
            Error::bug(format!("redis refuses: {}", error.detail().unwrap_or(code)))
        }
        other => Error::unavailable("stream_unavailable", format!("redis answers {other}")),
    }
}

/// An error that came while connecting: whatever it is, it may be better later.
pub(super) fn lost(error: &RedisError) -> Error {
    match error.kind() == ErrorKind::AuthenticationFailed {
        true => denied(),
        false => Error::unavailable("stream_unavailable", "redis cannot be reached"),
    }
}

/// No answer in time.
pub(super) fn late<E>(_elapsed: E) -> Error {
    Error::unavailable("stream_late", "redis did not answer in time")
}

fn denied() -> Error {
    Error::unavailable("stream_denied", "redis refuses our name or password, or the command")
}

/// An answer of another shape than asked for.
pub(super) fn odd<T>(what: &'static str) -> Result<T> {
    Err(Error::bug(format!("redis answers {what} in an unknown shape")))
}

/// Whether the connection may be of no use any more.
pub(super) fn ends_connection(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_io_error() || error.code() == Some("READONLY")
}
