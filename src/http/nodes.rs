//! `/admin/nodes`, and what nodes ask each other: `/internal/…`, signed, for nothing else.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;

use super::Api;
use super::auth::Caller;
use super::error::Result;
use super::input::{Nothing, Params};
use crate::actors::neighbours::{Answer, MOMENT, PAIRING_CODE, SIGNATURE};
use crate::domain::cluster::NodeView;
use crate::domain::error::{Error, Kind};
use crate::domain::ids::Shard;
use crate::domain::time::Timestamp;

/// A node and what it owns.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    /// Who it is.
    #[serde(flatten)]
    node: NodeView,
    /// The shards it holds.
    #[schema(value_type = Vec<u16>, max_items = 1024, example = json!([0, 1]))]
    shards: Vec<Shard>,
}

/// All nodes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Nodes {
    /// In the order of their names.
    #[schema(max_items = 1024)]
    items: Vec<Node>,
    /// How many shards there are.
    #[schema(minimum = 1, maximum = 1024, example = 16)]
    shards: u16,
    /// Shards that nobody holds now.
    #[schema(value_type = Vec<u16>, max_items = 1024, example = json!([]))]
    unowned: Vec<Shard>,
}

/// Shows the nodes that are there, what they do, and which shards they own. A node that died is listed until it is
/// forgotten; `seenAt` stands still then.
#[utoipa::path(
    get,
    path = "/admin/nodes",
    operation_id = "listNodes",
    tag = "operation",
    responses((status = 200, description = "The nodes", body = Nodes))
)]
pub(super) async fn list(
    _caller: Caller,
    State(api): State<Arc<Api>>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<Json<Nodes>> {
    let cluster = api.queries.cluster().await?;
    let shards = api.directory.shards();
    let holder = |shard: Shard| {
        cluster.leases.iter().find(|lease| lease.shard == shard).and_then(|lease| lease.node.as_deref())
    };
    let of = |name: Option<&str>| (0..shards).map(Shard).filter(|shard| holder(*shard) == name).collect();
    let unowned = of(None);
    let items =
        cluster.nodes.iter().take(1024).map(|node| Node { shards: of(Some(&node.node)), node: node.clone() });
    Ok(Json(Nodes { items: items.collect(), shards, unowned }))
}

/// Another node asks for a pairing code.
pub(super) async fn pairing_code(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Answer<(String, Timestamp)>>> {
    genuine(&api, &headers, PAIRING_CODE, &body)?;
    let asked = serde_json::from_slice(&body)
        .map_err(|error| Error::invalid("body", "invalid_body", error.to_string()))?;
    Ok(Json(api.neighbours.pairing_code_here(asked).await.into()))
}

fn genuine(api: &Api, headers: &HeaderMap, path: &str, body: &[u8]) -> Result<(), Error> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if api.neighbours.is_genuine(header(MOMENT), header(SIGNATURE), path, body) {
        return Ok(());
    }
    Err(Error::new(Kind::Unauthorized, "not_a_node", "only nodes of this cluster may ask this"))
}
