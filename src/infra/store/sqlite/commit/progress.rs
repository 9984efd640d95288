//! What became of messages: sent, delivered, read, failed.
//!
//! Promises: a message only moves up; each move is one event; a command ends once, with its message's first end.

use std::collections::HashMap;

use rusqlite::Connection;
use serde::Serialize;

use super::{Item, Tx};
use crate::domain::error::{Error, Result};
use crate::domain::event::EventType;
use crate::domain::ids::{CommandId, MessageId, SessionId};
use crate::domain::message::MessageState;
use crate::domain::time::Timestamp;
use crate::domain::write::{MessageNews, Outcome, Progress};
use crate::infra::store::sqlite::sql::Columns;
use crate::infra::store::sqlite::statement::{each, fetch};

// The condition on `state` is the index's own, word for word: SQLite sees by it that the index applies.
pub(super) const LOAD: &str = "select m.session_id, m.wa_id, m.id, c.jid, m.peer, m.state, m.command_id \
    from session_messages m cross join session_chats c on c.id = m.chat_id \
    where m.session_id = ? and m.wa_id = ? and m.direction = 'out' and m.state > 0";
pub(super) const SAVE: &str =
    "update session_messages set state = ?2, code = ?3, failure = ?4, updated_at = ?5 where id = ?1";
pub(super) const END_COMMANDS: &str = "update commands set state = ?2, updated_at = ?3 where id = ?1";

/// One outgoing message as a batch sees it.
pub(super) struct Outgoing {
    pub(super) session: SessionId,
    pub(super) id: MessageId,
    pub(super) wa_id: String,
    pub(super) chat: String,
    pub(super) peer: String,
    pub(super) state: MessageState,
    pub(super) command: Option<CommandId>,
    failure: Option<(String, String)>,
    updated: Option<Timestamp>,
}

impl Outgoing {
    pub(super) fn new(session: SessionId, id: MessageId, state: MessageState) -> Self {
        let (wa_id, chat, peer) = (String::new(), String::new(), String::new());
        Self { session, id, wa_id, chat, peer, state, command: None, failure: None, updated: None }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Moved<'a> {
    message_id: MessageId,
    wa_message_id: &'a str,
    to: &'a str,
    chat: &'a str,
    status: MessageState,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    at: Timestamp,
}

/// The commands that ended in this batch.
#[derive(Default)]
pub(super) struct Ended(Vec<(CommandId, &'static str, Timestamp)>);

impl Ended {
    pub(super) fn flush(&self, conn: &Connection) -> Result<()> {
        each(conn, END_COMMANDS, &self.0, |(id, state, at), cells| {
            cells.id(id.0).text(state).int(at.0);
        })
        .map(drop)
    }
}

/// Takes news about messages, the lower ranks first: an acknowledgement that shares a batch with its receipt is told.
pub(super) fn progress(tx: &mut Tx<'_>, items: &[Item<'_, Progress>]) -> Result<()> {
    let mut news: Vec<(SessionId, &MessageNews)> = Vec::new();
    for &(place, progress) in items {
        let answer = tx.owned(progress.fence, progress.session).map(|()| Outcome::Done);
        if answer.is_ok() {
            news.extend(progress.news.iter().map(|piece| (progress.session, piece)));
        }
        tx.answer(place, answer);
    }
    news.sort_by_key(|(_, piece)| piece.state.rank());
    let mut messages = load(tx.conn, &news)?;
    let mut ended = Ended::default();
    for (session, piece) in news {
        // News of a message we do not know is no news: another device sent it before we were linked.
        if let Some(message) = messages.get_mut(&(session, piece.wa_id.0.as_str())) {
            advance(tx, message, piece, &mut ended)?;
        }
    }
    save(tx.conn, messages.values())?;
    ended.flush(tx.conn)
}

type ByWaId<'a> = HashMap<(SessionId, &'a str), Outgoing>;

fn load<'a>(conn: &Connection, news: &[(SessionId, &'a MessageNews)]) -> Result<ByWaId<'a>> {
    let mut wanted: Vec<_> = news.iter().map(|(session, piece)| (*session, piece.wa_id.0.as_str())).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let rows = fetch(conn, LOAD, &wanted, |(session, wa_id), cells| {
        cells.id(session.0).text(wa_id);
    });
    let mut messages: ByWaId<'a> = HashMap::new();
    for row in rows? {
        let name = (SessionId(row.id(0)?), row.text(1)?);
        let Ok(place) = wanted.binary_search(&name) else { continue };
        let mut message = Outgoing::new(name.0, MessageId(row.id(2)?), state(row.int(5)?)?);
        message.wa_id = name.1.to_owned();
        message.chat = row.text(3)?.to_owned();
        message.peer = row.text(4)?.to_owned();
        message.command = row.opt_id(6)?.map(CommandId);
        if let Some(wanted) = wanted.get(place) {
            messages.entry(*wanted).or_insert(message);
        }
    }
    Ok(messages)
}

/// The state with this rank.
pub(in crate::infra::store::sqlite) fn state(rank: i64) -> Result<MessageState> {
    let known = MessageState::ALL.into_iter().find(|state| state.rank() == rank);
    known.ok_or_else(|| Error::bug("a stored message has an unknown state"))
}

/// Moves one message if the news is news.
pub(super) fn advance(
    tx: &mut Tx<'_>,
    message: &mut Outgoing,
    news: &MessageNews,
    ended: &mut Ended,
) -> Result<()> {
    let Some(next) = message.state.advance(news.state) else { return Ok(()) };
    let open = message.state < MessageState::Sent;
    message.state = next;
    message.updated = Some(news.at);
    message.failure = news.failure.clone().filter(|_| next == MessageState::Failed);
    if open
        && next >= MessageState::Sent
        && let Some(command) = message.command
    {
        let end = if next == MessageState::Failed { "failed" } else { "done" };
        ended.0.push((command, end, news.at));
        tx.sessions.finished(message.session)?;
    }
    let Some(kind) = event(next) else { return Ok(()) };
    let data = Moved {
        message_id: message.id,
        wa_message_id: &message.wa_id,
        to: &message.peer,
        chat: &message.chat,
        status: next,
        code: message.failure.as_ref().map(|(code, _)| code.as_str()),
        reason: message.failure.as_ref().map(|(_, reason)| reason.as_str()),
        at: news.at,
    };
    tx.emit(message.session, kind, news.at, &data)
}

fn event(state: MessageState) -> Option<EventType> {
    match state {
        MessageState::Queued | MessageState::Sending => None,
        MessageState::Sent => Some(EventType::MessageSent),
        MessageState::Delivered => Some(EventType::MessageDelivered),
        MessageState::Read => Some(EventType::MessageRead),
        MessageState::Played => Some(EventType::MessagePlayed),
        MessageState::Failed => Some(EventType::MessageFailed),
    }
}

/// Writes the messages that moved.
pub(super) fn save<'o>(conn: &Connection, messages: impl Iterator<Item = &'o Outgoing>) -> Result<()> {
    let moved: Vec<_> = messages.filter_map(|message| Some((message, message.updated?))).collect();
    each(conn, SAVE, &moved, |(message, at), cells| {
        let failure = message.failure.as_ref();
        cells.id(message.id.0).int(message.state.rank());
        cells.opt_text(failure.map(|(code, _)| code.as_str()));
        cells.opt_text(failure.map(|(_, reason)| reason.as_str())).int(at.0);
    })
    .map(drop)
}
