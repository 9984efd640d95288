//! How the service is, for those who run it: `/admin/tree`, `/livez`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use super::Api;
use super::auth::Caller;
use super::error::Result;
use super::input::{Nothing, Params};
use crate::actors::health::Readiness;
use crate::actors::supervisor;
use crate::domain::view::one_of;
use crate::telemetry;

/// The supervision tree of this node.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "the shape of what `Health::tree` gives, for the documentation")]
struct Tree {
    /// The children of its root, in start order.
    #[schema(max_items = 1024)]
    node: Vec<supervisor::Node>,
}

/// That the process answers.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
struct Alive {
    /// Always `ok`.
    #[schema(schema_with = ok)]
    status: &'static str,
}

fn ok() -> utoipa::openapi::Object {
    one_of(&["ok"])
}

/// Metrics in Prometheus' text format.
struct Metrics;

impl utoipa::PartialSchema for Metrics {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(16 << 20));
        RefOr::T(text.examples(["# TYPE http_requests_total counter"]).build().into())
    }
}

impl utoipa::ToSchema for Metrics {}

/// Shows the live supervision tree: every actor, its state, its restarts and the reason of the last.
#[utoipa::path(
    get,
    path = "/admin/tree",
    operation_id = "getTree",
    tag = "operation",
    responses((status = 200, description = "The tree", body = Tree))
)]
pub(super) async fn tree(
    _caller: Caller,
    State(api): State<Arc<Api>>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<Json<Value>> {
    Ok(Json(api.health.tree().await?))
}

/// Answers as long as the process can answer at all; a failure is a reason to restart it.
#[utoipa::path(
    get,
    path = "/livez",
    operation_id = "getLiveness",
    tag = "operation",
    security(()),
    responses((status = 200, description = "Alive", body = Alive))
)]
pub(super) async fn livez() -> Json<Value> {
    Json(serde_json::json!({"status": "ok"}))
}

/// Says whether work moves: each part tells when it last made progress. A failure is a reason to send no traffic.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "getReadiness",
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
    operation_id = "getMetrics",
    tag = "operation",
    security(()),
    responses((status = 200, description = "The metrics", body = Metrics, content_type = "text/plain"))
)]
pub(super) async fn metrics() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], telemetry::rendered())
}
