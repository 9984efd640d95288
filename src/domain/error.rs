//! One error for the whole service: a kind that decides what the caller may do, a stable code that clients
//! can match on, and the place it was made.
//!
//! Only `http/error.rs` turns a kind into a status code.

use std::fmt;
use std::panic::Location;

/// What went wrong, as far as the caller's next step is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request can never succeed as it is.
    Invalid,
    /// The thing named is not there, or not the caller's.
    NotFound,
    /// The request contradicts what is already so.
    Conflict,
    /// The caller did not say who it is.
    Unauthorized,
    /// The caller may not do this.
    Forbidden,
    /// A limit is reached: try again later.
    Busy,
    /// The writer no longer owns the shard: stop, do not retry.
    Fenced,
    /// Something we depend on does not answer: try again later.
    Unavailable,
    /// Our own mistake.
    Bug,
}

/// A failure with its kind, a stable code, and where it was made.
#[derive(Clone, Debug)]
pub struct Error {
    /// What the caller may do about it.
    pub kind: Kind,
    /// Stable, snake case, documented: `session_not_found`.
    pub code: &'static str,
    /// For people. Never holds a secret, a phone number or a chat id.
    pub message: String,
    /// The input that is wrong, as a path in the request (`content.text`).
    pub field: Option<String>,
    /// Where it was made.
    pub at: &'static Location<'static>,
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` with a stable `code`.
    #[track_caller]
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into(), field: None, at: Location::caller() }
    }

    /// Input that can never be accepted; names the field.
    #[track_caller]
    pub fn invalid(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(Kind::Invalid, code, message) }
    }

    /// The thing named is not there.
    #[track_caller]
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, code, message)
    }

    /// The request contradicts what is already so.
    #[track_caller]
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, code, message)
    }

    /// A limit is reached.
    #[track_caller]
    pub fn busy(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Busy, code, message)
    }

    /// The writer lost its lease.
    #[track_caller]
    pub fn fenced() -> Self {
        Self::new(Kind::Fenced, "fenced", "this node no longer owns the shard")
    }

    /// A dependency does not answer.
    #[track_caller]
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, code, message)
    }

    /// Our own mistake, with the detail for the log.
    #[track_caller]
    pub fn bug(message: impl fmt::Display) -> Self {
        Self::new(Kind::Bug, "internal", message.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        match &self.field {
            Some(field) => write!(f, " (field {field})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
