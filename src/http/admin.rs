//! How the service is, for those who run it: `/admin/tree`, `/livez`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::Value;

use super::Api;
use super::auth::Caller;
use super::error::Result;
use crate::actors::health::Readiness;
use crate::telemetry;

/// Shows the live supervision tree: every actor, its state, its restarts and the reason of the last.
#[utoipa::path(
    get,
    path = "/admin/tree",
    tag = "operation",
    responses((status = 200, description = "The tree", body = Object))
)]
pub(super) async fn tree(_caller: Caller, State(api): State<Arc<Api>>) -> Result<Json<Value>> {
    Ok(Json(api.health.tree().await?))
}

/// Answers as long as the process can answer at all; a failure is a reason to restart it.
#[utoipa::path(
    get,
    path = "/livez",
    tag = "operation",
    security(()),
    responses((status = 200, description = "Alive", body = Object, example = json!({"status": "ok"})))
)]
pub(super) async fn livez() -> Json<Value> {
    Json(serde_json::json!({"status": "ok"}))
}

/// Says whether work moves: each part tells when it last made progress. A failure is a reason to send no traffic.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operation",
    security(()),
    responses(
        (status = 200, description = "Work moves", body = Readiness),
        (status = 503, description = "Some part stands still", body = Readiness),
    )
)]
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> (StatusCode, Json<Readiness>) {
    let readiness = api.health.readiness().await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

/// Metrics in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operation",
    security(()),
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], telemetry::rendered())
}
