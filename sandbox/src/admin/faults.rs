//! Faults by request.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::reply::{Answer, body};
use crate::error::{Result, SandboxError};
use crate::faults::FaultSpec;
use crate::ops::faults;

pub(super) async fn add(State(world): Shared, text: String) -> Result<Answer> {
    let spec: FaultSpec = body(&text)?;
    faults::add(&world, spec).map(|fault| Answer::of(&fault))
}

pub(super) async fn list(State(world): Shared) -> Answer {
    Answer::of(&json!({ "faults": world.faults.list() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    id: Option<u64>,
}

pub(super) async fn clear(
    State(world): Shared,
    query: Result<Query<Which>, QueryRejection>,
) -> Result<Answer> {
    let Query(which) = query.map_err(|e| SandboxError::invalid(e.body_text()))?;
    Ok(Answer::of(&json!({ "cleared": world.faults.clear(which.id) })))
}
