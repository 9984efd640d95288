//! `/sessions/{id}/pacing`: what a session may send now, and why a message of it waits.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Api;
use super::auth::Caller;
use super::error::Result;
use super::input::{Id, Nothing, Params};
use crate::domain::error::Error;
use crate::domain::ids::SessionId;
use crate::domain::message::{Direction, MessageState};
use crate::domain::now;
use crate::domain::pacing::PacingView;
use crate::domain::view::MessageView;

/// Shows what a session has sent today, what is left of its allowances, and what its messages wait for.
#[utoipa::path(
    get,
    path = "/sessions/{id}/pacing",
    operation_id = "getSessionPacing",
    tag = "sessions",
    params(("id" = SessionId, Path, description = "The session")),
    responses((status = 200, description = "How it is paced", body = PacingView))
)]
pub(super) async fn show(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(session): Id<SessionId>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<Json<PacingView>> {
    caller.reaches(session)?;
    let history = api.queries.pacing(caller.tenant, session).await?;
    let missing = || Error::not_found("session_not_found", "there is no such session");
    let history = history.ok_or_else(missing)?;
    Ok(Json(PacingView::of(&api.config.pacing, &history, now())))
}

/// Says of a message that waits because its session is paced why it does, and until when at least.
pub(super) async fn explain(api: &Api, caller: &Caller, view: &mut MessageView) -> Result<(), Error> {
    let rules = &api.config.pacing;
    let waits = view.direction == Direction::Out && view.state == MessageState::Queued;
    if !waits || (!rules.limits() && rules.cool_down.is_zero()) {
        return Ok(());
    }
    let history = api.queries.pacing(caller.tenant, view.session_id).await?.unwrap_or_default();
    if !rules.limits() && now() >= history.forgets_at(rules) {
        return Ok(());
    }
    let begins = api.queries.begins_chat(caller.tenant, view.message_id).await?;
    if let Some(wait) = rules.before(&history, begins, now()) {
        view.code = Some(wait.code.as_str().to_owned());
        view.not_before = Some(wait.not_before);
    }
    Ok(())
}
