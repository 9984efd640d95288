//! `/dead-letters`: what was given up on, and another try for it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Api;
use super::auth::Caller;
use super::error::Result;
use super::idempotency::Answer;
use super::input::{Id, Nothing, Params, Submitted};
use super::page::page;
use crate::domain::error::Error;
use crate::domain::ids::DeadLetterId;
use crate::domain::now;
use crate::domain::view::{DeadLetterView, Page};
use crate::domain::write::{Redrive, Write};

/// The states a dead letter can be in.
const STATES: [&str; 3] = ["buried", "redriving", "resolved"];

/// Which dead letters.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listing {
    /// Only in this state: `buried`, `redriving` or `resolved`.
    state: Option<String>,
    /// Rows of the page: 1 to 200, 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// Lists dead letters, newest first.
#[utoipa::path(
    get,
    path = "/dead-letters",
    tag = "dead letters",
    params(Listing),
    responses((status = 200, description = "One page", body = Page<DeadLetterView>))
)]
pub(super) async fn list(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Params(wanted): Params<Listing>,
) -> Result<Json<Page<DeadLetterView>>> {
    if wanted.state.as_deref().is_some_and(|state| !STATES.contains(&state)) {
        let detail = format!("must be one of {}", STATES.join(", "));
        return Err(Error::invalid("state", "unknown_state", detail).into());
    }
    let page = page(wanted.limit, wanted.cursor)?;
    Ok(Json(api.queries.dead_letters(caller.tenant, wanted.state, page).await?))
}

/// A dead letter that will be delivered again.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Redriven {
    /// Its id.
    dead_letter_id: DeadLetterId,
    /// Always `redriving`.
    #[schema(example = "redriving")]
    status: &'static str,
}

/// Delivers a dead letter to its consumer again, with a fresh budget of tries.
#[utoipa::path(
    post,
    path = "/dead-letters/{id}/redrive",
    tag = "dead letters",
    params(("id" = DeadLetterId, Path, description = "The dead letter")),
    responses((status = 202, description = "Accepted", body = Redriven))
)]
pub(super) async fn redrive(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(id): Id<DeadLetterId>,
    Submitted { body: Nothing {}, key }: Submitted<Nothing>,
) -> Result<Answer> {
    let response = serde_json::json!(Redriven { dead_letter_id: id, status: "redriving" });
    let redrive = Redrive { tenant: caller.tenant, id, response, idempotency: key, at: now(), audit: None };
    Answer::to(&api, StatusCode::ACCEPTED, Write::Redrive(redrive)).await
}
