//! `/.well-known/jwks.json`: the public keys that open access tokens, for whoever wants to read them without asking us.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, HeaderName};
use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, Schema, Type};

use super::Api;
use super::error::Result;
use super::input::{Nothing, Params};

/// A set of keys as RFC 7517 has it.
struct KeySet;

impl utoipa::PartialSchema for KeySet {
    fn schema() -> RefOr<Schema> {
        let key = ObjectBuilder::new()
            .schema_type(Type::Object)
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)));
        let keys = ArrayBuilder::new().items(key).max_items(Some(64));
        let set = ObjectBuilder::new().schema_type(Type::Object).property("keys", keys).required("keys");
        RefOr::T(set.examples([json!({"keys": []})]).build().into())
    }
}

impl utoipa::ToSchema for KeySet {}

/// Shows the public keys of access tokens (RFC 7517): those that sign, those that will, and those whose tokens still live.
/// With HS256 there are none.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    operation_id = "getSigningKeys",
    tag = "people",
    security(()),
    responses(
        (status = 200, description = "The keys", body = KeySet),
        (status = 429, description = "This address asks too often"),
    )
)]
pub(super) async fn jwks(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Params(Nothing {}): Params<Nothing>,
) -> Result<([(HeaderName, &'static str); 1], Json<Value>)> {
    api.limits.before(&headers).await?;
    Ok(([(CACHE_CONTROL, "public, max-age=30")], Json(api.credentials.jwks())))
}
