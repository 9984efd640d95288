//! `/chats`: conversations, by any address they are known by.

use std::str::FromStr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::Api;
use super::auth::Caller;
use super::error::Result;
use super::idempotency::Answer;
use super::input::{Id, Params, Submitted};
use super::page::page;
use crate::domain::address::Address;
use crate::domain::content::Content;
use crate::domain::error::Error;
use crate::domain::ids::SessionId;
use crate::domain::view::{ChatView, MessageView, Page};

/// Which rows.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct Listing {
    /// Only of this session.
    #[param(value_type = Option<SessionId>)]
    session_id: Option<String>,
    /// Rows of the page: 1 to 200, 50 when absent.
    #[param(minimum = 1, maximum = 200, example = 50)]
    limit: Option<i64>,
    /// `nextCursor` of the page before.
    #[param(pattern = "^[-_0-9A-Za-z]+$", min_length = 1, max_length = 512, example = "MDE5MmYwYzEtN2I3YQ")]
    cursor: Option<String>,
}

/// A conversation's address in a path.
pub(super) struct Jid(Address);

impl FromStr for Jid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.parse().map(Self).map_err(|error: Error| Error { field: Some("jid".to_owned()), ..error })
    }
}

/// The session a parameter names, if the caller can see it.
pub(super) fn named(caller: &Caller, id: Option<&str>) -> Result<Option<SessionId>, Error> {
    let session = id.map(str::parse).transpose()?;
    session.map_or(Ok(()), |session| caller.reaches(session))?;
    Ok(session)
}

/// Lists conversations, the latest first.
#[utoipa::path(
    get,
    path = "/chats",
    operation_id = "listChats",
    tag = "chats",
    params(Listing),
    responses((status = 200, description = "One page", body = Page<ChatView>))
)]
pub(super) async fn list(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Params(wanted): Params<Listing>,
) -> Result<Json<Page<ChatView>>> {
    let session = named(&caller, wanted.session_id.as_deref())?;
    let page = caller.within(page(wanted.limit, wanted.cursor)?);
    Ok(Json(api.queries.chats(caller.tenant, session, page).await?))
}

/// Lists the messages of a conversation, newest first.
#[utoipa::path(
    get,
    path = "/chats/{jid}/messages",
    operation_id = "listChatMessages",
    tag = "chats",
    params(("jid" = Address, Path, description = "Any address the chat is known by, or a phone number"), Listing),
    responses((status = 200, description = "One page", body = Page<MessageView>))
)]
pub(super) async fn messages(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(Jid(chat)): Id<Jid>,
    Params(wanted): Params<Listing>,
) -> Result<Json<Page<MessageView>>> {
    let session = named(&caller, wanted.session_id.as_deref())?;
    let page = caller.within(page(wanted.limit, wanted.cursor)?);
    Ok(Json(api.queries.messages(caller.tenant, session, chat.to_string(), page).await?))
}

/// A message to send into a conversation.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Reply {
    /// The session that sends.
    #[schema(value_type = SessionId)]
    session_id: String,
    /// What it says.
    #[serde(deserialize_with = "super::input::object")]
    #[schema(value_type = super::openapi::ContentToSend)]
    content: Content,
}

/// Accepts a message for sending into a conversation; the same as `POST /sessions/{id}/messages`.
#[utoipa::path(
    post,
    path = "/chats/{jid}/messages",
    operation_id = "sendChatMessage",
    tag = "chats",
    params(("jid" = Address, Path, description = "Any address of the chat, or a phone number")),
    request_body = Reply,
    responses((status = 202, description = "Accepted", body = super::messages::Queued))
)]
pub(super) async fn send(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(Jid(chat)): Id<Jid>,
    Submitted { body, key }: Submitted<Reply>,
) -> Result<Answer> {
    let session = body.session_id.parse()?;
    api.limits.sends(caller.tenant, session).await?;
    super::messages::accept(&api, &caller, session, (chat, body.content), key).await
}
