//! `/sessions/{id}/messages` and `/messages/{id}`: sending, and what became of it.

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
use super::openapi::ContentToSend;
use crate::domain::address::Address;
use crate::domain::command::CommandType;
use crate::domain::content::Content;
use crate::domain::error::Error;
use crate::domain::ids::{CommandId, MessageId, SessionId, WaId};
use crate::domain::now;
use crate::domain::view::MessageView;
use crate::domain::write::{Accept, Idempotency, NewMessage, Write};

/// A message to send.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Outgoing {
    /// A phone number with country code, or a WhatsApp address.
    #[schema(value_type = Address, example = "+15550100199")]
    to: String,
    /// What it says.
    #[serde(deserialize_with = "super::input::object")]
    #[schema(value_type = ContentToSend)]
    content: Content,
}

/// A message that is stored and will be sent or fail with a reason.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Queued {
    /// Our id; look it up at `/messages/{id}`.
    message_id: MessageId,
    /// The command's id.
    command_id: CommandId,
    /// The id it carries to WhatsApp, in every try.
    wa_message_id: WaId,
    /// Always `queued`.
    #[schema(schema_with = super::lifecycle::queued)]
    status: &'static str,
}

/// Accepts a message for sending. `202` means that it is stored and will end in `sent` or further, or in `failed`
/// with a reason; its events tell.
#[utoipa::path(
    post,
    path = "/sessions/{id}/messages",
    operation_id = "sendMessage",
    tag = "messages",
    params(("id" = SessionId, Path, description = "The session that sends")),
    request_body = Outgoing,
    responses((status = 202, description = "Accepted", body = Queued))
)]
pub(super) async fn send(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(session): Id<SessionId>,
    Submitted { body, key }: Submitted<Outgoing>,
) -> Result<Answer> {
    let to = body.to.parse()?;
    accept(&api, &caller, session, (to, body.content), key).await
}

/// Stores a message for a session to send. After the commit nothing is waited for.
pub(super) async fn accept(
    api: &Api,
    caller: &Caller,
    session: SessionId,
    (to, content): (Address, Content),
    key: Option<Idempotency>,
) -> Result<Answer> {
    caller.reaches(session)?;
    content.check()?;
    let message_id = MessageId::new();
    let command_id = CommandId::new();
    let wa_message_id = WaId::of(message_id);
    let at = now();
    let message = NewMessage {
        id: message_id,
        wa_id: wa_message_id.clone(),
        to,
        content,
        deadline: at.after(api.config.message_deadline),
    };
    let queued = Queued { message_id, command_id, wa_message_id, status: "queued" };
    let write = Write::Accept(Accept {
        tenant: caller.tenant,
        session,
        shard: api.directory.shard_of(session),
        command: command_id,
        kind: CommandType::SendMessage,
        message: Some(message),
        response: serde_json::to_value(queued).map_err(Error::bug)?,
        idempotency: key,
        at,
        queue_limit: api.config.session_queue,
        audit: None,
    });
    Answer::to(api, StatusCode::ACCEPTED, write).await
}

/// Shows one message, sent or received, and where it stands. One that waits because its session is paced says why
/// (`code`), and from when it may go (`notBefore`).
#[utoipa::path(
    get,
    path = "/messages/{id}",
    operation_id = "getMessage",
    tag = "messages",
    params(("id" = MessageId, Path, description = "The message")),
    responses((status = 200, description = "The message", body = MessageView))
)]
pub(super) async fn show(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(message): Id<MessageId>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<Json<MessageView>> {
    let view = api.queries.message(caller.tenant, message).await?;
    let view = view.filter(|view| caller.reaches(view.session_id).is_ok());
    let mut view = view.ok_or_else(|| Error::not_found("message_not_found", "there is no such message"))?;
    super::pacing::explain(&api, &caller, &mut view).await?;
    Ok(Json(view))
}
