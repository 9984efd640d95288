//! Commands and messages accepted from clients: the hot path. A batch of any size is about ten statements.

use std::collections::HashSet;

use rusqlite::Connection;
use serde::Serialize;

use super::chats::Chats;
use super::outbox::NewCommand;
use super::{Item, Tx};
use crate::domain::address::Address;
use crate::domain::error::{Error, Result};
use crate::domain::event::EventType;
use crate::domain::ids::{CommandId, MessageId, SessionId, Shard, TenantId, WaId};
use crate::domain::message::{Direction, MessageState};
use crate::domain::time::Timestamp;
use crate::domain::write::{Accept, NewMessage, Outcome};
use crate::infra::store::sqlite::sql::Columns;
use crate::infra::store::sqlite::statement::{each, fetch};

pub(super) const KNOWN: &str = "select id from commands where id = ?";
const COMMANDS: &str = "insert into commands (id, tenant_id, session_id, shard, seq, kind, state, message_id, deadline, \
    created_at, updated_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const MESSAGES: &str = "insert into session_messages (id, tenant_id, session_id, chat_id, direction, author, peer, wa_id, \
    content, state, command_id, deadline, timestamp, updated_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

struct CommandRow {
    tenant: TenantId,
    session: SessionId,
    shard: Shard,
    seq: i64,
    command: NewCommand,
    deadline: Option<Timestamp>,
}

/// A row of `session_messages` to come.
pub(super) struct MessageRow {
    pub(super) id: MessageId,
    pub(super) tenant: TenantId,
    pub(super) session: SessionId,
    pub(super) chat: i64,
    pub(super) direction: Direction,
    /// Who wrote it, where a chat has several writers; else empty.
    pub(super) author: String,
    pub(super) peer: String,
    pub(super) wa_id: String,
    pub(super) content: String,
    pub(super) state: MessageState,
    pub(super) command: Option<CommandId>,
    pub(super) deadline: Option<Timestamp>,
    pub(super) timestamp: Timestamp,
    pub(super) updated: Timestamp,
}

/// Rows to insert at the end of a kind.
#[derive(Default)]
pub(super) struct Buffers {
    commands: Vec<CommandRow>,
    pub(super) messages: Vec<MessageRow>,
}

impl Buffers {
    /// Queues a command, with its row on `session-commands`.
    pub(super) fn command(
        &mut self,
        tx: &mut Tx<'_>,
        session: SessionId,
        command: NewCommand,
        deadline: Option<Timestamp>,
    ) -> Result<()> {
        let seq = tx.wake(session, &command)?;
        let row = tx.sessions.change(session)?;
        row.queued += 1;
        let (tenant, shard) = (row.tenant, row.shard);
        self.commands.push(CommandRow { tenant, session, shard, seq, command, deadline });
        Ok(())
    }

    pub(super) fn flush(self, conn: &Connection) -> Result<()> {
        each(conn, COMMANDS, &self.commands, |row, cells| {
            let command = &row.command;
            cells.id(command.id.0).id(row.tenant.0).id(row.session.0).int(i64::from(row.shard.0));
            cells.int(row.seq).text(command.kind.as_str()).text("queued");
            cells.opt_id(command.message.map(|message| message.0)).opt_int(row.deadline.map(|at| at.0));
            cells.int(command.at.0).int(command.at.0);
        })?;
        each(conn, MESSAGES, &self.messages, |row, cells| {
            cells.id(row.id.0).id(row.tenant.0).id(row.session.0).int(row.chat);
            cells.text(row.direction.as_str()).text(&row.author).text(&row.peer).text(&row.wa_id);
            cells.text(&row.content).int(row.state.rank()).opt_id(row.command.map(|command| command.0));
            cells.opt_int(row.deadline.map(|at| at.0)).int(row.timestamp.0).int(row.updated.0);
        })
        .map(drop)
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

/// Accepts commands and messages.
pub(super) fn accept(tx: &mut Tx<'_>, items: &[Item<'_, Accept>]) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let mut known = known(tx.conn, items)?;
    let names = items.iter().filter_map(|(_, accept)| {
        let message = accept.message.as_ref()?;
        Some((accept.session, message.to.to_string()))
    });
    let mut chats = Chats::load(tx.conn, names.collect())?;
    let mut buffers = Buffers::default();
    for &(place, accept) in items {
        let answer = match judge(tx, accept, &known) {
            Judged::Answered(answer) => answer,
            Judged::New => {
                known.insert(accept.command);
                put(tx, accept, &mut chats, &mut buffers)?;
                Ok(tx.stored.keep(accept.tenant, accept.idempotency.as_ref(), &accept.response, accept.at))
            }
        };
        tx.answer(place, answer);
    }
    chats.flush(tx.conn)?;
    buffers.flush(tx.conn)
}

fn known(conn: &Connection, items: &[Item<'_, Accept>]) -> Result<HashSet<CommandId>> {
    let rows = fetch(conn, KNOWN, items, |(_, accept), cells| {
        cells.id(accept.command.0);
    });
    rows?.iter().map(|row| Ok(CommandId(row.id(0)?))).collect()
}

enum Judged {
    Answered(Result<Outcome>),
    New,
}

fn judge(tx: &Tx<'_>, accept: &Accept, known: &HashSet<CommandId>) -> Judged {
    if let Some(earlier) = tx.stored.replay(accept.tenant, accept.idempotency.as_ref()) {
        return Judged::Answered(earlier);
    }
    let session = match tx.sessions.of_tenant(accept.tenant, accept.session) {
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

fn put(tx: &mut Tx<'_>, accept: &Accept, chats: &mut Chats, buffers: &mut Buffers) -> Result<()> {
    let (id, at) = (accept.session, accept.at);
    let message = accept.message.as_ref();
    let command =
        NewCommand { id: accept.command, kind: accept.kind, message: message.map(|new| new.id), at };
    buffers.command(tx, id, command, message.map(|new| new.deadline))?;
    let Some(message) = message else { return Ok(()) };
    let chat = chats.find_or_add((accept.tenant, id), Some(&message.to), None, at);
    let Some(chat) = chat else { return Err(Error::bug("a message to nobody")) };
    chats.touch(chat, at, message.content.preview());
    buffers.messages.push(row(accept, message, chat)?);
    let data = Queued {
        message_id: message.id,
        wa_message_id: &message.wa_id,
        to: &message.to,
        content_type: message.content.kind(),
    };
    tx.emit(id, EventType::MessageQueued, at, &data)
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
