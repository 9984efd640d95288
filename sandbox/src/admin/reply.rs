//! Answers and errors of the admin surface, and bodies that are read leniently: a command line forgets the header.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Code, Result, SandboxError};

/// A JSON answer.
pub(super) struct Answer(StatusCode, String);

impl Answer {
    pub(super) fn of<T: Serialize>(value: &T) -> Self {
        match serde_json::to_string(value) {
            Ok(text) => Self(StatusCode::OK, text),
            Err(cause) => Self::error(&SandboxError::bug(cause)),
        }
    }

    fn error(error: &SandboxError) -> Self {
        let status = match error.code {
            Code::Invalid => StatusCode::BAD_REQUEST,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::Conflict => StatusCode::CONFLICT,
            Code::Full => StatusCode::TOO_MANY_REQUESTS,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::Io | Code::Bug => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let body = serde_json::json!({ "code": error.code.as_str(), "detail": error.detail });
        Self(status, body.to_string())
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        (self.0, [(header::CONTENT_TYPE, "application/json")], self.1).into_response()
    }
}

impl IntoResponse for SandboxError {
    fn into_response(self) -> Response {
        Answer::error(&self).into_response()
    }
}

/// There is nothing here.
pub(super) struct NotFound;

impl IntoResponse for NotFound {
    fn into_response(self) -> Response {
        SandboxError::not_found("no such resource").into_response()
    }
}

/// Reads a JSON body; an empty one is `{}`.
pub(super) fn body<T: DeserializeOwned>(text: &str) -> Result<T> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    serde_json::from_str(text).map_err(|e| SandboxError::invalid(e.to_string()))
}
