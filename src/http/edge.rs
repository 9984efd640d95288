//! What every request passes, once: an id, a deadline, a net under panics, a log line, two metrics, and the writing
//! out of problems.
//!
//! Promises: every response carries `x-request-id`; a panic or a slow handler ends in a problem, never in a cut
//! connection; a log line names the matched route and never the path, which may hold a phone number.
//!
//! One function instead of a stack of layers: each layer boxes every request once more, and this is the accept path.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::Instrument;

use super::browser::protect;
use super::error::Problem;
use super::reads::Asked;
use crate::domain::error::{Error, Kind};
use crate::telemetry;

/// In: the caller's own id for the request. Out: the id it has in our log.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// By which protocol the client came to the proxy in front of us.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How long a handler may take; the longest wait inside is a pairing code.
const DEADLINE: Duration = Duration::from_secs(30);

/// Around every route.
pub(super) async fn edge(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let method = request.method().clone();
    let asked = Asked::of(&method, request.headers());
    // Set by the proxy in front that ends TLS. A client that says so by itself only obliges itself.
    let secure = request.headers().get(FORWARDED_PROTO).is_some_and(|proto| proto == "https");
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let span = tracing::debug_span!("http", %method, route, request_id = id.to_str().unwrap_or_default());
    let mut response = guarded(next.run(request)).instrument(span.clone()).await;
    if let Some(asked) = asked {
        response = asked.answer(response).await;
    }
    span.in_scope(|| {
        let problem = response.extensions_mut().remove::<Problem>();
        if let Some(problem) = problem.or_else(|| silent(&response)) {
            report(&problem);
            let allow = response.headers_mut().remove(ALLOW);
            response = problem.written(id.to_str().unwrap_or_default());
            if let Some(allow) = allow {
                response.headers_mut().insert(ALLOW, allow);
            }
        }
        let took = started.elapsed();
        tracing::debug!(status = response.status().as_u16(), ?took, "answered");
        telemetry::http_request(method.as_str(), route, response.status().as_u16(), took);
    });
    response.headers_mut().insert(REQUEST_ID, id);
    protect(response.headers_mut(), secure);
    response
}

/// Runs a handler under a deadline, with a net.
async fn guarded(handler: impl Future<Output = Response>) -> Response {
    match tokio::time::timeout(DEADLINE, AssertUnwindSafe(handler).catch_unwind()).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
            Problem::from(Error::bug(format!("a handler panicked: {text}"))).into_response()
        }
        Err(_late) => Problem::late().into_response(),
    }
}

/// The problem of a response that failed without saying why: the router's own refusals.
fn silent(response: &Response) -> Option<Problem> {
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    let speaks = || {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        kind.is_some_and(|kind| kind.contains("json"))
    };
    (failed && !speaks()).then(|| Problem::guessed(status))
}

/// Logs a failure once, here, where it is handled.
fn report(problem: &Problem) {
    let error = problem.error();
    match error.kind {
        Kind::Bug => {
            tracing::error!(code = error.code, at = %error.at, detail = %error.message, "a request met a bug")
        }
        Kind::Unavailable | Kind::Fenced => {
            tracing::warn!(code = error.code, at = %error.at, "a request could not be answered");
        }
        Kind::Invalid
        | Kind::NotFound
        | Kind::Conflict
        | Kind::Unauthorized
        | Kind::Forbidden
        | Kind::Busy => tracing::debug!(code = error.code, field = error.field, "a request was refused"),
    }
}

/// The caller's id if it is one, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fine = |id: &&HeaderValue| {
        (1..=64).contains(&id.len())
            && id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    headers.get(&REQUEST_ID).filter(fine).cloned().unwrap_or_else(|| {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = uuid::Uuid::now_v7().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or_else(|_not_visible| HeaderValue::from_static("unknown"))
    })
}

/// The answer to a path that no route has.
pub(super) async fn unknown_route() -> Problem {
    Problem::guessed(StatusCode::NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::{get, post};
    use tower::ServiceExt;

    use super::*;

    async fn breaks() -> &'static str {
        panic!("boom")
    }

    fn app() -> Router {
        Router::new()
            .route("/panic", get(breaks))
            .route("/stuck", get(std::future::pending::<()>))
            .route("/post", post(|| async { "fine" }))
            .fallback(unknown_route)
            .layer(axum::middleware::from_fn(edge))
    }

    async fn ask(path: &str, id: Option<&str>) -> (u16, String, serde_json::Value) {
        let mut request = Request::builder().uri(path);
        if let Some(id) = id {
            request = request.header(REQUEST_ID, id);
        }
        let response = app().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let id = response.headers()[REQUEST_ID].to_str().unwrap().to_owned();
        let bytes = axum::body::to_bytes(response.into_body(), 65_536).await.unwrap();
        (status, id, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_without_its_text() {
        let (status, _, body) = ask("/panic", None).await;
        assert_eq!((status, body["code"].as_str()), (500, Some("internal")));
        assert!(!body.to_string().contains("boom"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_never_answers_is_given_up_on() {
        let (status, _, body) = ask("/stuck", None).await;
        assert_eq!((status, body["code"].as_str()), (503, Some("request_timeout")));
    }

    #[tokio::test]
    async fn unknown_paths_and_methods_are_problems_too() {
        let (status, _, body) = ask("/nowhere", None).await;
        assert_eq!((status, body["code"].as_str()), (404, Some("unknown_route")));
        let (status, _, body) = ask("/post", None).await;
        assert_eq!((status, body["code"].as_str()), (405, Some("method_not_allowed")));
    }

    #[tokio::test]
    async fn a_good_request_id_comes_back_and_a_bad_one_is_replaced() {
        assert_eq!(ask("/nowhere", Some("abc-1")).await.1, "abc-1");
        let (_, id, body) = ask("/nowhere", Some("a b\"")).await;
        assert_ne!(id, "a b\"");
        assert_eq!(body["requestId"], id.as_str());
    }
}
