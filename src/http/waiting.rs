//! What is served while the tables are not there yet: that the process lives, that it is not ready, and why.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;

use super::server;
use crate::actors::health::{Check, Readiness};

/// Connections at once; more wait to be accepted.
const CONNECTIONS: usize = 256;

/// Serves until it is dropped; `reason` says what is waited for.
pub async fn wait_visibly(listener: TcpListener, reason: Arc<ArcSwap<String>>) {
    let app = Router::new().fallback(async move |uri: Uri| answer(uri.path(), &reason.load()));
    server::serve_only(listener, app, CONNECTIONS).await;
}

/// A connection ends with its answer, so that the next one finds the real service.
fn answer(path: &str, reason: &str) -> Response {
    let waits = Check { name: "tables".into(), ok: false, detail: reason.to_owned() };
    let readiness = || (StatusCode::SERVICE_UNAVAILABLE, Json(Readiness::of(vec![waits]))).into_response();
    let mut response = match path {
        "/livez" => Json(json!({"status": "ok"})).into_response(),
        "/readyz" => readiness(),
        _ => {
            let problem = super::error::Problem::from(crate::domain::error::Error::unavailable(
                "starting",
                "the service waits for its tables; /readyz says more",
            ));
            let mut response = problem.written("starting");
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
            response
        }
    };
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
