//! Messages that came in. The same message twice is one message and one event, whatever else shares its batch.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::Value;

use super::accept::{Buffers, MessageRow};
use super::chats::{Chat, Chats, Name};
use super::{Batch, Item};
use crate::domain::address::{Address, Server};
use crate::domain::content::Content;
use crate::domain::error::{Error, Result};
use crate::domain::event::{DATA_LIMIT, EventType};
use crate::domain::ids::{MessageId, SessionId, TenantId};
use crate::domain::message::{Direction, MessageState};
use crate::domain::time::Timestamp;
use crate::domain::write::{Inbound, InboundMessage, Outcome};

/// Room for everything but the text in an event.
const ENVELOPE: usize = 8_192;

/// The longest name kept of a chat.
const NAME_LIMIT: usize = 256;

/// What makes a message the same message.
pub(crate) type Identity = (SessionId, String, i64, &'static str, String);

/// A message that came in, and its chat.
pub(crate) struct Arrival<'w> {
    pub(crate) session: SessionId,
    tenant: TenantId,
    pub(crate) message: &'w InboundMessage,
    at: Timestamp,
    pub(crate) chat: i64,
}

impl Arrival<'_> {
    fn identity(&self) -> Identity {
        let author = author(self.message);
        (self.session, self.message.wa_id.0.clone(), self.chat, self.message.direction.as_str(), author)
    }
}

/// Who wrote it, where a chat has several writers. The LID if there is one: it does not change.
fn author(message: &InboundMessage) -> String {
    let direct = [&message.chat_pn, &message.chat_lid]
        .into_iter()
        .flatten()
        .any(|chat| matches!(chat.server(), Server::Phone | Server::Lid));
    if direct || message.direction == Direction::Out {
        return String::new();
    }
    let sender = message.sender_lid.as_ref().or(message.sender_pn.as_ref());
    sender.map(Address::to_string).unwrap_or_default()
}

/// What came in for sessions that the writer owns; answers all.
pub(crate) fn owned<'w>(batch: &mut Batch, items: &[Item<'w, Inbound>]) -> Vec<&'w Inbound> {
    let mut owned = Vec::new();
    for &(place, inbound) in items {
        let answer = batch.owned(inbound.fence, inbound.session).map(|()| Outcome::Done);
        if answer.is_ok() {
            owned.push(inbound);
        }
        batch.answer(place, answer);
    }
    owned
}

/// The names of the chats it belongs to.
pub(crate) fn names(owned: &[&Inbound]) -> Vec<Name> {
    let names = owned.iter().flat_map(|inbound| {
        let addresses = inbound.messages.iter().flat_map(addresses);
        addresses.map(|address| (inbound.session, address.to_string()))
    });
    names.collect()
}

/// Stores what is not `known`.
pub(crate) fn store(
    batch: &mut Batch,
    arrivals: &[Arrival<'_>],
    mut known: HashSet<Identity>,
    chats: &mut Chats,
    buffers: &mut Buffers,
) -> Result<()> {
    for arrival in arrivals {
        if known.insert(arrival.identity()) {
            put(batch, arrival, chats, buffers)?;
        }
    }
    Ok(())
}

/// What a message's conversation is known by; the sender's where WhatsApp names no conversation.
fn addresses(message: &InboundMessage) -> impl Iterator<Item = &Address> {
    let chat = [message.chat_pn.as_ref(), message.chat_lid.as_ref()];
    let sender = [message.sender_pn.as_ref(), message.sender_lid.as_ref()];
    let named = chat.iter().any(Option::is_some);
    (if named { chat } else { sender }).into_iter().flatten()
}

/// Each message with its chat, found or made.
pub(crate) fn arrivals<'w>(
    batch: &Batch,
    owned: &[&'w Inbound],
    chats: &mut Chats,
) -> Result<Vec<Arrival<'w>>> {
    let mut arrivals = Vec::new();
    for inbound in owned {
        let tenant = batch.sessions.live(inbound.session)?.tenant;
        for message in &inbound.messages {
            let mut names = addresses(message);
            let (first, second) = (names.next(), names.next());
            let chat = chats.find_or_add((tenant, inbound.session), first, second, message.sent_at);
            match chat {
                Some(chat) => {
                    arrivals.push(Arrival {
                        session: inbound.session,
                        tenant,
                        message,
                        at: inbound.at,
                        chat,
                    });
                }
                // Refusing it would make WhatsApp bring it again for ever.
                None => tracing::warn!("a message without any address came in and was left out"),
            }
        }
    }
    Ok(arrivals)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Received<'a> {
    message_id: MessageId,
    wa_message_id: &'a str,
    chat: ChatData<'a>,
    from: FromData<'a>,
    from_me: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<MessageState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
    content: Value,
    timestamp: Timestamp,
}

#[derive(Serialize)]
struct ChatData<'a> {
    id: &'a str,
    pn: Option<&'a str>,
    lid: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FromData<'a> {
    pn: Option<&'a Address>,
    lid: Option<&'a Address>,
    push_name: Option<&'a str>,
}

fn put(batch: &mut Batch, arrival: &Arrival<'_>, chats: &mut Chats, buffers: &mut Buffers) -> Result<()> {
    let message = arrival.message;
    let came_in = message.direction == Direction::In;
    let name = message.push_name.as_deref().map(short).filter(|name| !name.is_empty());
    chats.touch(arrival.chat, message.sent_at, message.content.preview());
    let chat = chats.get(arrival.chat).ok_or_else(|| Error::bug("a message without its chat"))?;
    let id = MessageId::new();
    let data = Received {
        message_id: id,
        wa_message_id: &message.wa_id.0,
        chat: ChatData { id: &chat.jid, pn: chat.pn.as_deref(), lid: chat.lid.as_deref() },
        from: FromData { pn: message.sender_pn.as_ref(), lid: message.sender_lid.as_ref(), push_name: name },
        from_me: !came_in,
        status: (!came_in).then_some(MessageState::Sent),
        source: (!came_in).then_some("device"),
        content: bounded(&message.content),
        timestamp: message.sent_at,
    };
    let kind = if came_in { EventType::MessageReceived } else { EventType::MessageSent };
    batch.emit(arrival.session, kind, arrival.at, &data)?;
    buffers.messages.push(row(arrival, id, chat)?);
    let direct = addresses(message).any(|chat| matches!(chat.server(), Server::Phone | Server::Lid));
    if came_in
        && direct
        && let Some(name) = name
    {
        chats.rename(arrival.chat, name);
    }
    Ok(())
}

fn row(arrival: &Arrival<'_>, id: MessageId, chat: &Chat) -> Result<MessageRow> {
    let message = arrival.message;
    let came_in = message.direction == Direction::In;
    let sender = message.sender_pn.as_ref().or(message.sender_lid.as_ref()).filter(|_| came_in);
    Ok(MessageRow {
        id,
        tenant: arrival.tenant,
        session: arrival.session,
        chat: arrival.chat,
        direction: message.direction,
        author: author(message),
        peer: sender.map_or_else(|| chat.jid.clone(), Address::to_string),
        wa_id: message.wa_id.0.clone(),
        content: serde_json::to_string(&message.content).map_err(Error::bug)?,
        state: if came_in { MessageState::Delivered } else { MessageState::Sent },
        command: None,
        deadline: None,
        timestamp: message.sent_at,
        updated: arrival.at,
    })
}

/// The content for an event. A text of control characters grows six-fold as JSON: then the event goes without it.
fn bounded(content: &Content) -> Value {
    let mut value = content.for_event();
    if value.to_string().len() > DATA_LIMIT - ENVELOPE {
        value = serde_json::json!({"type": content.kind(), "text": "", "truncated": true});
    }
    value
}

fn short(name: &str) -> &str {
    let end = name.char_indices().map(|(at, _)| at).nth(NAME_LIMIT).unwrap_or(name.len());
    &name[..end]
}
