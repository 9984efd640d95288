//! `/sessions`: linked WhatsApp accounts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::Api;
use super::auth::Caller;
use super::error::Result;
use super::idempotency::Answer;
use super::input::{Id, Nothing, Params, Submitted};
use super::page::page;
use crate::domain::command::CommandType;
use crate::domain::error::Error;
use crate::domain::ids::{CommandId, SessionId};
use crate::domain::label::{Label, label};
use crate::domain::now;
use crate::domain::session::{Endpoint, SessionState};
use crate::domain::view::{Page, SessionView, Transition};
use crate::domain::write::{CreateSession, Write};

/// A session to make. All members are optional.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewSession {
    /// For people; 1 to 100 characters, unique among your sessions.
    #[serde(default)]
    #[schema(value_type = Option<Label>)]
    name: Option<String>,
    /// Which WhatsApp; the real one when absent.
    #[serde(default = "real_whatsapp", deserialize_with = "super::input::object")]
    #[schema(value_type = super::openapi::EndpointToUse)]
    endpoint: Endpoint,
    /// Start it at once (the default), so that a QR code can be fetched.
    #[serde(default = "yes")]
    #[schema(example = true)]
    start: bool,
}

fn real_whatsapp() -> Endpoint {
    Endpoint::Whatsapp {}
}

fn yes() -> bool {
    true
}

impl NewSession {
    fn check(&self) -> Result<(), Error> {
        self.name.clone().map(|name| label("name", name)).transpose()?;
        self.endpoint.check()
    }
}

/// Makes a session, and starts it unless told otherwise.
#[utoipa::path(
    post,
    path = "/sessions",
    operation_id = "createSession",
    tag = "sessions",
    request_body = NewSession,
    responses((status = 201, description = "Made; `Location` says where", body = SessionView))
)]
pub(super) async fn create(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Submitted { body, key }: Submitted<NewSession>,
) -> Result<Answer> {
    body.check()?;
    let session = SessionId::new();
    let shard = api.directory.shard_of(session);
    let start = body.start.then(CommandId::new);
    let at = now();
    let view = SessionView {
        session_id: session,
        tenant_id: caller.tenant,
        name: body.name.clone(),
        state: SessionState::Created,
        reason: "created".to_owned(),
        pn: None,
        lid: None,
        push_name: None,
        endpoint: body.endpoint.clone(),
        queued: i64::from(body.start),
        created_at: at,
        updated_at: at,
        connected_at: None,
        shard,
        code: None,
    };
    let response = serde_json::to_value(&view).map_err(Error::bug)?;
    let write = Write::CreateSession(CreateSession {
        tenant: caller.tenant,
        session,
        shard,
        name: body.name,
        endpoint: body.endpoint,
        start,
        response,
        idempotency: key,
        at,
        limit: api.config.max_sessions,
        audit: Some(Box::new(caller.entry("session.created").to("session", session))),
    });
    Ok(Answer::to(&api, StatusCode::CREATED, write).await?.located("/sessions", "sessionId"))
}

/// Which sessions to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listing {
    /// Rows of the page: 1 to 200, 50 when absent.
    #[param(minimum = 1, maximum = 200, example = 50)]
    limit: Option<i64>,
    /// `nextCursor` of the page before.
    #[param(pattern = "^[-_0-9A-Za-z]+$", min_length = 1, max_length = 512, example = "MDE5MmYwYzEtN2I3YQ")]
    cursor: Option<String>,
}

/// Lists your sessions, oldest first.
#[utoipa::path(
    get,
    path = "/sessions",
    operation_id = "listSessions",
    tag = "sessions",
    params(Listing),
    responses((status = 200, description = "One page", body = Page<SessionView>))
)]
pub(super) async fn list(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Params(wanted): Params<Listing>,
) -> Result<Json<Page<SessionView>>> {
    let page = caller.within(page(wanted.limit, wanted.cursor)?);
    Ok(Json(api.queries.sessions(caller.tenant, page).await?))
}

/// Shows one session.
#[utoipa::path(
    get,
    path = "/sessions/{id}",
    operation_id = "getSession",
    tag = "sessions",
    params(("id" = SessionId, Path, description = "The session")),
    responses((status = 200, description = "The session", body = SessionView))
)]
pub(super) async fn show(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(session): Id<SessionId>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<Json<SessionView>> {
    Ok(Json(found(&api, &caller, session).await?))
}

/// The session, if it is the caller's.
pub(super) async fn found(api: &Api, caller: &Caller, session: SessionId) -> Result<SessionView, Error> {
    caller.reaches(session)?;
    let view = api.queries.session(caller.tenant, session).await?;
    view.ok_or_else(|| Error::not_found("session_not_found", "there is no such session"))
}

/// Shows the last 50 changes of state, newest first.
#[utoipa::path(
    get,
    path = "/sessions/{id}/timeline",
    operation_id = "getSessionTimeline",
    tag = "sessions",
    params(("id" = SessionId, Path, description = "The session")),
    responses((status = 200, description = "The changes", body = Page<Transition>))
)]
pub(super) async fn timeline(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(session): Id<SessionId>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<Json<Page<Transition>>> {
    found(&api, &caller, session).await?;
    let items = api.queries.timeline(caller.tenant, session).await?;
    Ok(Json(Page { items, next_cursor: None }))
}

/// Unlinks a session from its account and forgets it; what is still queued fails.
#[utoipa::path(
    delete,
    path = "/sessions/{id}",
    operation_id = "deleteSession",
    tag = "sessions",
    params(("id" = SessionId, Path, description = "The session")),
    responses((status = 202, description = "Accepted", body = super::lifecycle::Accepted))
)]
pub(super) async fn delete(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(session): Id<SessionId>,
    Submitted { body: Nothing {}, key }: Submitted<Nothing>,
) -> Result<Answer> {
    super::lifecycle::accept(&api, &caller, session, CommandType::Delete, key).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_body_is_a_session_on_the_real_whatsapp_started_at_once() {
        let body: NewSession = serde_json::from_str("{}").unwrap();
        assert!(body.start && body.name.is_none() && body.endpoint == Endpoint::Whatsapp {});
        assert!(body.check().is_ok());
    }
}
