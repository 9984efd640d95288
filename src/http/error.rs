//! Failures as clients see them: RFC 9457 problem details with a stable code. The only place with status codes.
//!
//! Promises: a kind of failure always has the same status; a mistake of ours shows no detail; whoever may try again
//! is told when (`Retry-After`). A [`Problem`] travels inside the response and is written out by
//! [`edge`](super::edge), which knows the request's id.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;

use crate::domain::error::{Error, Kind};

/// Shorthand for what handlers answer.
pub(super) type Result<T, E = Problem> = std::result::Result<T, E>;

/// A failure and its status.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    error: Error,
    /// The limit that refused, and how long it will.
    limit: Option<(&'static str, u64)>,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error.kind {
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Unauthorized => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            // The whole service is full, not this caller too fast.
            Kind::Busy
                if matches!(error.code, "ledger_busy" | "archive_busy" | "identity_busy" | "store_busy") =>
            {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Kind::Busy => StatusCode::TOO_MANY_REQUESTS,
            Kind::Fenced | Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Bug => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, error, limit: None }
    }
}

impl Problem {
    /// A limit refuses: which, and for how many seconds.
    pub(super) fn limited(error: Error, scope: &'static str, seconds: u64) -> Self {
        Self { limit: Some((scope, seconds)), ..error.into() }
    }

    /// A failure of the protocol itself, whose status says more than its kind.
    #[track_caller]
    pub(super) fn of(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, error: Error::new(Kind::Invalid, code, detail), limit: None }
    }

    /// The same, naming the part of the request that is wrong.
    #[track_caller]
    pub(super) fn at(status: StatusCode, field: &str, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, error: Error::invalid(field, code, detail), limit: None }
    }

    /// What a response without a stated problem means, by its status: the router's own refusals.
    pub(super) fn guessed(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::of(status, "unknown_route", "there is nothing at this path"),
            StatusCode::METHOD_NOT_ALLOWED => {
                Self::of(status, "method_not_allowed", "this path does not take this method; see Allow")
            }
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large(),
            StatusCode::INTERNAL_SERVER_ERROR => Error::bug("a response without a cause").into(),
            other => Self::of(other, "refused", "the request cannot be answered"),
        }
    }

    /// The body is longer than any body may be.
    #[track_caller]
    pub(super) fn too_large() -> Self {
        let detail = format!("the body must be at most {} bytes", super::BODY_LIMIT);
        Self::of(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    }

    /// The handler did not answer in time.
    #[track_caller]
    pub(super) fn late() -> Self {
        Error::unavailable("request_timeout", "no answer in time; the outcome is unknown").into()
    }

    /// The failure itself.
    pub(super) fn error(&self) -> &Error {
        &self.error
    }

    /// How long to wait before another try, in seconds, where another try makes sense.
    fn retry_after(&self) -> Option<u64> {
        if let Some((_, seconds)) = self.limit {
            return Some(seconds);
        }
        match self.error.kind {
            Kind::Busy => Some(1),
            Kind::Fenced | Kind::Unavailable => Some(2),
            Kind::Invalid
            | Kind::NotFound
            | Kind::Conflict
            | Kind::Unauthorized
            | Kind::Forbidden
            | Kind::Bug => None,
        }
    }

    /// The response for the client.
    pub(super) fn written(&self, request_id: &str) -> Response<Body> {
        let detail = match self.error.kind {
            Kind::Bug => "something went wrong on our side; the request id finds it in the log",
            Kind::Invalid
            | Kind::NotFound
            | Kind::Conflict
            | Kind::Unauthorized
            | Kind::Forbidden
            | Kind::Busy
            | Kind::Fenced
            | Kind::Unavailable => &self.error.message,
        };
        let body = Details {
            kind: format!("urn:recado:problem:{}", self.error.code),
            title: self.status.canonical_reason().unwrap_or("Problem"),
            status: self.status.as_u16(),
            detail: cut(detail, DETAIL),
            code: self.error.code,
            field: self.error.field.as_deref().map(|field| cut(field, FIELD)),
            scope: self.limit.map(|(scope, _)| scope),
            request_id,
        };
        let mut response = Response::new(Body::from(serde_json::to_vec(&body).unwrap_or_default()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The longest detail in characters: a cause may be longer than a client has use for.
const DETAIL: usize = 1024;

/// The longest field in characters: its name may be the client's, and is not to be sent back without end.
const FIELD: usize = 256;

fn cut(text: &str, limit: usize) -> &str {
    text.char_indices().nth(limit).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

/// Problem details (RFC 9457). `code` is stable: match on it, show `detail` to people.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(super) struct Details<'a> {
    /// Names the kind of problem; ends in the code.
    #[serde(rename = "type")]
    #[schema(
        pattern = "^urn:recado:problem:[a-z0-9_]+$",
        max_length = 128,
        example = "urn:recado:problem:invalid_text"
    )]
    kind: String,
    /// The status in words.
    #[schema(max_length = 64, example = "Bad Request")]
    title: &'a str,
    /// The status.
    #[schema(minimum = 400, maximum = 599, example = 400)]
    status: u16,
    /// What is wrong, for people.
    #[schema(max_length = 1024, example = "must be 1 to 65536 bytes")]
    detail: &'a str,
    /// What is wrong, for programs. Stable.
    #[schema(pattern = "^[a-z0-9_]+$", min_length = 1, max_length = 64, example = "invalid_text")]
    code: &'a str,
    /// The part of the request that is wrong: a path in the body, a parameter or a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256, example = "content.text")]
    field: Option<&'a str>,
    /// The limit that is reached: `ip`, `auth_failures`, `token`, `tenant` or `session`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 16, example = "token")]
    scope: Option<&'a str>,
    /// Finds this request in the log.
    #[schema(
        pattern = "^[-_.0-9A-Za-z]+$",
        min_length = 1,
        max_length = 64,
        example = "0192f0c1-7b7a-7000-8000-000000000001"
    )]
    request_id: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(problem: &Problem) -> serde_json::Value {
        let bytes = axum::body::to_bytes(problem.written("r-1").into_body(), 65_536).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn every_kind_has_its_status_and_only_the_patient_are_told_to_try_again() {
        let expected = [
            (Kind::Invalid, 400, false),
            (Kind::NotFound, 404, false),
            (Kind::Conflict, 409, false),
            (Kind::Unauthorized, 401, false),
            (Kind::Forbidden, 403, false),
            (Kind::Busy, 429, true),
            (Kind::Fenced, 503, true),
            (Kind::Unavailable, 503, true),
            (Kind::Bug, 500, false),
        ];
        for (kind, status, again) in expected {
            let response = Problem::from(Error::new(kind, "some_code", "text")).written("r-1");
            assert_eq!(response.status().as_u16(), status, "{kind:?}");
            assert_eq!(response.headers().contains_key(RETRY_AFTER), again, "{kind:?}");
            assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        }
        let full = Problem::from(Error::busy("ledger_busy", "full")).written("r-1");
        assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn a_mistake_of_ours_shows_no_detail() {
        let shown = body(&Error::bug("select * from secrets").into()).await;
        assert_eq!(shown["code"], "internal");
        assert!(!shown.to_string().contains("secrets"));
    }

    #[tokio::test]
    async fn a_reached_limit_is_named_and_says_for_how_long() {
        let problem = Problem::limited(Error::busy("rate_limited", "too many"), "token", 42);
        assert_eq!(problem.written("r-1").headers()[RETRY_AFTER], "42");
        let shown = body(&problem).await;
        assert_eq!(
            (&shown["status"], &shown["code"], &shown["scope"]),
            (&429.into(), &"rate_limited".into(), &"token".into())
        );
    }

    #[tokio::test]
    async fn a_wrong_field_is_named_and_the_request_can_be_found() {
        let shown = body(&Error::invalid("content.text", "invalid_text", "too long").into()).await;
        assert_eq!(
            shown,
            serde_json::json!({
                "type": "urn:recado:problem:invalid_text", "title": "Bad Request", "status": 400,
                "detail": "too long", "code": "invalid_text", "field": "content.text", "requestId": "r-1",
            })
        );
    }
}
