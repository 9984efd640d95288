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
use crate::domain::view::{DEAD_LETTER_STATES, DeadLetterView, Page, dead_letter_state, one_of};
use crate::domain::write::{Redrive, Write};

/// Which dead letters.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listing {
    /// Only in this state.
    #[param(schema_with = dead_letter_state)]
    state: Option<String>,
    /// Rows of the page: 1 to 200, 50 when absent.
    #[param(minimum = 1, maximum = 200, example = 50)]
    limit: Option<i64>,
    /// `nextCursor` of the page before.
    #[param(pattern = "^[-_0-9A-Za-z]+$", min_length = 1, max_length = 512, example = "MDE5MmYwYzEtN2I3YQ")]
    cursor: Option<String>,
}

/// Lists dead letters, newest first.
#[utoipa::path(
    get,
    path = "/dead-letters",
    operation_id = "listDeadLetters",
    tag = "dead letters",
    params(Listing),
    responses((status = 200, description = "One page", body = Page<DeadLetterView>))
)]
pub(super) async fn list(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Params(wanted): Params<Listing>,
) -> Result<Json<Page<DeadLetterView>>> {
    if wanted.state.as_deref().is_some_and(|state| !DEAD_LETTER_STATES.contains(&state)) {
        let detail = format!("must be one of {}", DEAD_LETTER_STATES.join(", "));
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
    #[schema(schema_with = redriving)]
    status: &'static str,
}

fn redriving() -> utoipa::openapi::Object {
    one_of(&["redriving"])
}

/// Delivers a dead letter to its consumer again, with a fresh budget of tries.
#[utoipa::path(
    post,
    path = "/dead-letters/{id}/redrive",
    operation_id = "redriveDeadLetter",
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
    let audit = Some(Box::new(caller.entry("dead_letter.redriven").to("dead_letter", id)));
    let redrive = Redrive { tenant: caller.tenant, id, response, idempotency: key, at: now(), audit };
    Answer::to(&api, StatusCode::ACCEPTED, Write::Redrive(redrive)).await
}
