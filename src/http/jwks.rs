//! `/.well-known/jwks.json`: the public keys that open access tokens, for whoever wants to read them without asking us.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HeaderName};
use serde_json::Value;

use super::Api;

/// Shows the public keys of access tokens (RFC 7517): those that sign, those that will, and those whose tokens still live.
/// With HS256 there are none.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    tag = "people",
    security(()),
    responses((status = 200, description = "The keys", body = Object, example = json!({"keys": []})))
)]
pub(super) async fn jwks(State(api): State<Arc<Api>>) -> ([(HeaderName, &'static str); 1], Json<Value>) {
    ([(CACHE_CONTROL, "public, max-age=30")], Json(api.credentials.jwks()))
}
