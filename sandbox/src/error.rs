//! One error type for the library and the admin surface: a stable code and a sentence. Causes are kept as text; a
//! sandbox has no caller that would branch on more than the code.

use std::fmt;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct SandboxError {
    /// Stable reason.
    pub code: Code,
    /// What exactly; never a secret.
    pub detail: String,
}

/// Stable reasons, as they appear in admin answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The request makes no sense as it stands.
    Invalid,
    /// No such account, device, reference or code.
    NotFound,
    /// The thing exists, but not in a state that allows this.
    Conflict,
    /// A limit of [`crate::Limits`] is reached.
    Full,
    /// The phone did not answer in time, or the sandbox is stopping.
    Unavailable,
    /// Listening, TLS or the data folder failed.
    Io,
    /// A defect of the sandbox itself.
    Bug,
}

impl Code {
    /// The spelling used on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Full => "full",
            Self::Unavailable => "unavailable",
            Self::Io => "io",
            Self::Bug => "bug",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl SandboxError {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::Invalid, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    pub(crate) fn bug(cause: impl fmt::Display) -> Self {
        Self::new(Code::Bug, cause.to_string())
    }

    pub(crate) fn io(what: &str, cause: impl fmt::Display) -> Self {
        Self::new(Code::Io, format!("{what}: {cause}"))
    }
}

/// Shorthand used all over the crate.
pub type Result<T, E = SandboxError> = std::result::Result<T, E>;
