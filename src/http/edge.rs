//! What every request passes, once: an id and a trace, a deadline, a net under panics, a log line, two metrics, and the
//! writing out of problems.
//!
//! Promises: every response carries `x-request-id`; every log line of a request carries this id and the id of its
//! trace, which is the caller's where it sent a `traceparent`; a panic or a slow handler ends in a problem, never in a
//! cut connection; a log line names the matched route and never the path, which may hold a phone number.
//!
//! No response carries `traceparent`: it is a header of requests, and whoever sent one knows the trace. The ids travel
//! beside the handler and not in a span, which would cost the accept path an allocation even where nothing is logged.
//!
//! One function instead of a stack of layers: each layer boxes every request once more, and this is the accept path.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tokio::time::Instant;

use super::browser::protect;
use super::error::Problem;
use super::limits;
use super::reads::Asked;
use crate::domain::error::{Error, Kind};
use crate::telemetry::{self, RequestIds, Trace, Whose, scrubbed};

/// In: the caller's own id for the request. Out: the id it has in our log.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// In: the trace that a request belongs to (W3C Trace Context).
const TRACE: HeaderName = HeaderName::from_static("traceparent");

/// By which protocol the client came to the proxy in front of us.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How long a handler may take; the longest wait inside is a pairing code.
const DEADLINE: Duration = Duration::from_secs(30);

/// Around every route.
pub(super) async fn edge(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    limits::begin();
    let id = request_id(request.headers());
    // For the audit log, which says by which request something was done.
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let method = named(request.method());
    let asked = Asked::of(request.method(), request.headers());
    // Set by the proxy in front that ends TLS. A client that says so by itself only obliges itself.
    let secure = request.headers().get(FORWARDED_PROTO).is_some_and(|proto| proto == "https");
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let ids = RequestIds::new(id.to_str().unwrap_or_default(), trace(request.headers()));
    let mut response = telemetry::of_request(ids, guarded(next.run(request))).await;
    if let Some(asked) = asked {
        response = asked.answer(response).await;
    }
    telemetry::at_request(ids, || {
        let problem = response.extensions_mut().remove::<Problem>();
        if let Some(problem) = problem.or_else(|| silent(&response)) {
            report(&problem, method, route);
            let allow = response.headers_mut().remove(ALLOW);
            response = problem.written(id.to_str().unwrap_or_default());
            if let Some(allow) = allow {
                response.headers_mut().insert(ALLOW, allow);
            }
        }
        let took = started.elapsed();
        tracing::debug!(method, route, status = response.status().as_u16(), ?took, "answered");
        telemetry::http_request(method, route, response.status().as_u16(), took);
    });
    response.headers_mut().insert(REQUEST_ID, id);
    limits::tell(response.headers_mut());
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
fn report(problem: &Problem, method: &str, route: &str) {
    let error = problem.error();
    let (code, at) = (error.code, error.at);
    match error.kind {
        Kind::Bug => {
            let detail = scrubbed(&error.message, Whose::Others);
            tracing::error!(method, route, code, %at, %detail, "a request met a bug");
        }
        Kind::Unavailable | Kind::Fenced => {
            tracing::warn!(method, route, code, %at, "a request could not be answered");
        }
        Kind::Invalid
        | Kind::NotFound
        | Kind::Conflict
        | Kind::Unauthorized
        | Kind::Forbidden
        | Kind::Busy => {
            // A field that there is not has a name that the caller made up.
            let field = error.field.as_deref().filter(|_| code != "unknown_field");
            let field = field.map(|field| scrubbed(field, Whose::Others));
            tracing::debug!(method, route, code, field = field.as_deref(), "a request was refused");
        }
    }
}

/// A method as logs and metrics have it: a client may make up any number of others.
fn named(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// The caller's id if it is one, else a new one. A number alone is none: it may be somebody's, and it would be logged.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let fine = |id: &&HeaderValue| {
        let id = id.as_bytes();
        (1..=telemetry::LONGEST_ID).contains(&id.len())
            && id.iter().all(part)
            && (id.len() < 5 || !id.iter().all(u8::is_ascii_digit))
    };
    headers.get(&REQUEST_ID).filter(fine).cloned().unwrap_or_else(|| {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = uuid::Uuid::now_v7().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or_else(|_not_visible| HeaderValue::from_static("unknown"))
    })
}

/// The caller's trace, if there is exactly one and it is one.
fn trace(headers: &HeaderMap) -> Option<Trace> {
    let mut all = headers.get_all(&TRACE).into_iter();
    let first = all.next()?;
    if all.next().is_some() { None } else { Trace::of_header(first.as_bytes()) }
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
        for bad in ["a b\"", "15550100199", &"x".repeat(65)] {
            let (_, id, body) = ask("/nowhere", Some(bad)).await;
            assert_ne!(id, bad);
            assert_eq!(body["requestId"], id.as_str());
        }
    }

    #[test]
    fn a_trace_is_taken_from_one_header_and_not_from_two() {
        let header = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let mut headers = HeaderMap::new();
        assert_eq!(trace(&headers), None);
        headers.append(TRACE, header.clone());
        assert_eq!(trace(&headers).unwrap().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        headers.append(TRACE, header);
        assert_eq!(trace(&headers), None);
    }
}
