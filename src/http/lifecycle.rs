//! `/sessions/{id}/start`, `/stop`, `/reconnect`, `/logout`: what a session is told to do with its link.
//!
//! An accepted command is durable and is done in order; what became of it shows in the session's events and timeline.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::Api;
use super::auth::Caller;
use super::error::Result;
use super::idempotency::Answer;
use super::input::{Id, Nothing, Submitted};
use crate::domain::command::CommandType;
use crate::domain::ids::{CommandId, SessionId};
use crate::domain::now;
use crate::domain::view::one_of;
use crate::domain::write::{Accept, Idempotency, Write};

/// A command that is stored and will be done.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Accepted {
    /// The command's id.
    command_id: CommandId,
    /// Always `queued`.
    #[schema(schema_with = queued)]
    status: &'static str,
}

/// The only status of what was just accepted.
pub(super) fn queued() -> utoipa::openapi::Object {
    one_of(&["queued"])
}

/// Stores a command for a session.
pub(super) async fn accept(
    api: &Api,
    caller: &Caller,
    session: SessionId,
    kind: CommandType,
    key: Option<Idempotency>,
) -> Result<Answer> {
    caller.reaches(session)?;
    let command = CommandId::new();
    let response = serde_json::json!(Accepted { command_id: command, status: "queued" });
    let write = Write::Accept(Accept {
        tenant: caller.tenant,
        session,
        shard: api.directory.shard_of(session),
        command,
        kind,
        message: None,
        response,
        idempotency: key,
        at: now(),
        queue_limit: api.config.session_queue,
        audit: Some(Box::new(caller.entry(kind.as_str()).to("session", session))),
    });
    Answer::to(api, StatusCode::ACCEPTED, write).await
}

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident, $id:literal, $path:literal, $kind:ident;)*) => {$(
        $(#[$doc])*
        #[utoipa::path(
            post,
            path = $path,
            operation_id = $id,
            tag = "sessions",
            params(("id" = SessionId, Path, description = "The session")),
            responses((status = 202, description = "Accepted", body = Accepted))
        )]
        pub(super) async fn $name(
            caller: Caller,
            State(api): State<Arc<Api>>,
            Id(session): Id<SessionId>,
            Submitted { body: Nothing {}, key }: Submitted<Nothing>,
        ) -> Result<Answer> {
            accept(&api, &caller, session, CommandType::$kind, key).await
        }
    )*};
}

commands! {
    /// Opens the link: an account that is not linked yet shows a QR code.
    start, "startSession", "/sessions/{id}/start", Start;
    /// Closes the link and stays linked; messages wait until the next start or fail at their deadline.
    stop, "stopSession", "/sessions/{id}/stop", Stop;
    /// Closes the link and opens it again now, without waiting for the next scheduled try.
    reconnect, "reconnectSession", "/sessions/{id}/reconnect", Reconnect;
    /// Unlinks from the account; a new start shows a new QR code.
    logout, "logoutSession", "/sessions/{id}/logout", Logout;
}
