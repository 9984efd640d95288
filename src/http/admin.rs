//! How the service is, for those who run it: `/admin/tree`, `/admin/log-level`, `/livez`, `/readyz`,
//! `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use super::Api;
use super::auth::Caller;
use super::error::Result;
use super::input::{Nothing, Params, Submitted};
use crate::actors::health::Readiness;
use crate::actors::supervisor;
use crate::domain::error::Error;
use crate::domain::time::Timestamp;
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

/// The longest change of the log level in seconds: a day.
const LONGEST_CHANGE: u32 = 86_400;

/// How much a node logs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogLevel {
    /// What holds now.
    #[schema(example = "debug", max_length = 1024)]
    level: String,
    /// What the node started with.
    #[schema(example = "info", max_length = 1024)]
    configured: String,
    /// When it goes back to that by itself; absent when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

impl From<telemetry::LogLevel> for LogLevel {
    fn from(shown: telemetry::LogLevel) -> Self {
        Self { level: shown.level.to_string(), configured: shown.configured.to_string(), until: shown.until }
    }
}

/// How much a node is to log.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewLogLevel {
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`, or a filter such as `info,recado::actors=debug`.
    #[schema(
        pattern = "^(?:[-_:/.0-9A-Za-z]+=)?(?:off|error|warn|info|debug|trace)(?:,(?:[-_:/.0-9A-Za-z]+=)?(?:off|error|warn|info|debug|trace))*$",
        example = "debug",
        min_length = 1,
        max_length = 1024
    )]
    level: String,
    /// For this long; until the node ends or is told otherwise when absent.
    #[schema(example = 600, minimum = 1, maximum = 86_400)]
    for_seconds: Option<u32>,
}

/// Shows how much the node that answers logs.
#[utoipa::path(
    get,
    path = "/admin/log-level",
    operation_id = "getLogLevel",
    tag = "operation",
    responses((status = 200, description = "The level", body = LogLevel))
)]
pub(super) async fn log_level(_caller: Caller, Params(Nothing {}): Params<Nothing>) -> Json<LogLevel> {
    Json(telemetry::log_level().into())
}

/// Makes the node that answers log more or less: this node alone, until it ends or, with `forSeconds`, goes back by
/// itself. Libraries below us are logged from `warn` up whatever the level, since what they say below holds personal data.
#[utoipa::path(
    put,
    path = "/admin/log-level",
    operation_id = "setLogLevel",
    tag = "operation",
    extensions(("x-asks-anew" = json!(true))),
    request_body = NewLogLevel,
    responses((status = 200, description = "The level from now on", body = LogLevel))
)]
pub(super) async fn set_log_level(
    _caller: Caller,
    Submitted { body, .. }: Submitted<NewLogLevel>,
) -> Result<Json<LogLevel>> {
    if body.for_seconds.is_some_and(|seconds| !(1..=LONGEST_CHANGE).contains(&seconds)) {
        return Err(Error::invalid("forSeconds", "invalid_for_seconds", "must be from 1 to 86400").into());
    }
    let lasts = body.for_seconds.map(|seconds| Duration::from_secs(seconds.into()));
    Ok(Json(telemetry::set_log_level(&body.level, lasts)?.into()))
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
