//! Commands and messages accepted from clients: what is refused, what is answered again, what is new.

use std::collections::HashSet;

use serde::Serialize;

use super::chats::{Chats, Name};
use super::outbox::NewCommand;
use super::{Batch, Item};
use crate::domain::address::Address;
use crate::domain::data::Data;
use crate::domain::error::{Error, Result};
use crate::domain::event::EventType;
use crate::domain::ids::{CommandId, MessageId, SessionId, Shard, TenantId, WaId};
use crate::domain::message::{Direction, MessageState};
use crate::domain::time::Timestamp;
use crate::domain::write::{Accept, NewMessage, Outcome};

/// A row of `commands` to come.
pub(crate) struct CommandRow {
    pub(crate) tenant: TenantId,
    pub(crate) session: SessionId,
    pub(crate) shard: Shard,
    pub(crate) seq: i64,
    pub(crate) command: NewCommand,
    pub(crate) deadline: Option<Timestamp>,
}

/// A row of `session_messages` to come.
pub(crate) struct MessageRow {
    pub(crate) id: MessageId,
    pub(crate) tenant: TenantId,
    pub(crate) session: SessionId,
    pub(crate) chat: i64,
    pub(crate) direction: Direction,
    /// Who wrote it, where a chat has several writers; else empty.
    pub(crate) author: String,
    pub(crate) peer: String,
    pub(crate) wa_id: String,
    pub(crate) content: String,
    pub(crate) state: MessageState,
    pub(crate) command: Option<CommandId>,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) timestamp: Timestamp,
    pub(crate) updated: Timestamp,
}

/// Rows to insert at the end of a kind.
#[derive(Default)]
pub(crate) struct Buffers {
    pub(crate) commands: Vec<CommandRow>,
    pub(crate) messages: Vec<MessageRow>,
}

impl Buffers {
    /// Queues a command, with its row on `session-commands`.
    pub(crate) fn command(
        &mut self,
        batch: &mut Batch,
        session: SessionId,
        command: NewCommand,
        deadline: Option<Timestamp>,
    ) -> Result<()> {
        let seq = batch.wake(session, &command)?;
        let row = batch.sessions.change(session)?;
        row.queued += 1;
        let (tenant, shard) = (row.tenant, row.shard);
        self.commands.push(CommandRow { tenant, session, shard, seq, command, deadline });
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Queued<'a> {
    message_id: MessageId,
    wa_message_id: &'a WaId,
    to: &'a Address,
    content_type: &'a str,
}

impl<'a> Queued<'a> {
    fn of(message: &'a NewMessage) -> Self {
        Self {
            message_id: message.id,
            wa_message_id: &message.wa_id,
            to: &message.to,
            content_type: message.content.kind(),
        }
    }
}

/// What the event of a queued message says.
pub(crate) fn queued_data(message: &NewMessage) -> Result<Data> {
    Data::of(&Queued::of(message))
}

/// The names of the chats that messages go to.
pub(crate) fn names(items: &[Item<'_, Accept>]) -> Vec<Name> {
    let name = |(_, accept): &Item<'_, Accept>| {
        let message = accept.message.as_ref()?;
        Some((accept.session, message.to.to_string()))
    };
    items.iter().filter_map(name).collect()
}

/// Accepts commands and messages, but for those whose command is `known`.
pub(crate) fn accept(
    batch: &mut Batch,
    items: &[Item<'_, Accept>],
    mut known: HashSet<CommandId>,
    chats: &mut Chats,
    buffers: &mut Buffers,
) -> Result<()> {
    for &(place, accept) in items {
        let answer = match judge(batch, accept, &known) {
            Judged::Answered(answer) => answer,
            Judged::New => {
                known.insert(accept.command);
                put(batch, accept, chats, buffers)?;
                batch.note(accept.audit.as_deref());
                let used = accept.idempotency.as_ref();
                Ok(batch.stored.keep(accept.tenant, used, &accept.response, accept.at))
            }
        };
        batch.answer(place, answer);
    }
    Ok(())
}

enum Judged {
    Answered(Result<Outcome>),
    New,
}

fn judge(batch: &Batch, accept: &Accept, known: &HashSet<CommandId>) -> Judged {
    if let Some(earlier) = batch.stored.replay(accept.tenant, accept.idempotency.as_ref()) {
        return Judged::Answered(earlier);
    }
    let session = match batch.sessions.of_tenant(accept.tenant, accept.session) {
        Ok(session) => session,
        Err(refusal) => return Judged::Answered(Err(refusal)),
    };
    if known.contains(&accept.command) {
        let again = Outcome::Accepted { response: accept.response.clone(), replayed: true };
        return Judged::Answered(Ok(again));
    }
    if session.queued >= accept.queue_limit {
        let full = "this session has as many unfinished commands as it may have";
        return Judged::Answered(Err(Error::busy("session_queue_full", full)));
    }
    Judged::New
}

fn put(batch: &mut Batch, accept: &Accept, chats: &mut Chats, buffers: &mut Buffers) -> Result<()> {
    let (id, at) = (accept.session, accept.at);
    let message = accept.message.as_ref();
    let command =
        NewCommand { id: accept.command, kind: accept.kind, message: message.map(|new| new.id), at };
    buffers.command(batch, id, command, message.map(|new| new.deadline))?;
    let Some(message) = message else { return Ok(()) };
    let chat = chats.find_or_add((accept.tenant, id), Some(&message.to), None, at);
    let Some(chat) = chat else { return Err(Error::bug("a message to nobody")) };
    chats.touch(chat, at, message.content.preview());
    buffers.messages.push(row(accept, message, chat)?);
    let data = Queued::of(message);
    batch.emit(id, EventType::MessageQueued, at, &data)
}

fn row(accept: &Accept, message: &NewMessage, chat: i64) -> Result<MessageRow> {
    Ok(MessageRow {
        id: message.id,
        tenant: accept.tenant,
        session: accept.session,
        chat,
        direction: Direction::Out,
        author: String::new(),
        peer: message.to.to_string(),
        wa_id: message.wa_id.0.clone(),
        content: serde_json::to_string(&message.content).map_err(Error::bug)?,
        state: MessageState::Queued,
        command: Some(accept.command),
        deadline: Some(message.deadline),
        timestamp: accept.at,
        updated: accept.at,
    })
}
