//! What became of messages: sent, delivered, read, failed.
//!
//! Promises: a message only moves up; each move is one event; a command ends once, with its message's first end.

use std::collections::HashMap;

use serde::Serialize;

use super::{Batch, Item};
use crate::domain::error::{Error, Result};
use crate::domain::event::EventType;
use crate::domain::ids::{CommandId, MessageId, SessionId, WaId};
use crate::domain::message::MessageState;
use crate::domain::time::Timestamp;
use crate::domain::write::{MessageNews, Outcome, Progress};
use crate::infra::store::columns::Columns;

/// One outgoing message as a batch sees it.
pub(crate) struct Outgoing {
    pub(crate) session: SessionId,
    pub(crate) id: MessageId,
    pub(crate) wa_id: String,
    pub(crate) chat: String,
    pub(crate) peer: String,
    pub(crate) state: MessageState,
    pub(crate) command: Option<CommandId>,
    pub(crate) failure: Option<(String, String)>,
    updated: Option<Timestamp>,
}

impl Outgoing {
    pub(crate) fn new(session: SessionId, id: MessageId, state: MessageState) -> Self {
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
pub(crate) struct Ended(pub(crate) Vec<(CommandId, &'static str, Timestamp)>);

/// News of a message of this session.
pub(crate) type News<'w> = (SessionId, &'w MessageNews);

/// The messages that news is of.
pub(crate) type ByWaId<'a> = HashMap<(SessionId, &'a str), Outgoing>;

/// The news of sessions that the writer owns; answers all. The lower ranks come first: an acknowledgement that shares a
/// batch with its receipt is told.
pub(crate) fn news<'w>(batch: &mut Batch, items: &[Item<'w, Progress>]) -> Vec<News<'w>> {
    let mut news: Vec<News<'w>> = Vec::new();
    for &(place, progress) in items {
        let answer = batch.owned(progress.fence, progress.session).map(|()| Outcome::Done);
        if answer.is_ok() {
            news.extend(progress.news.iter().map(|piece| (progress.session, piece)));
        }
        batch.answer(place, answer);
    }
    news.sort_by_key(|(_, piece)| piece.state.rank());
    news
}

/// The names of the messages that news is of, in order.
pub(crate) fn wanted<'w>(news: &[News<'w>]) -> Vec<(SessionId, &'w str)> {
    let mut wanted: Vec<_> = news.iter().map(|(session, piece)| (*session, piece.wa_id.0.as_str())).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// What is stored of them: rows of session, WhatsApp's id, id, chat, peer, state and command.
pub(crate) fn found<'w>(wanted: &[(SessionId, &'w str)], rows: &[impl Columns]) -> Result<ByWaId<'w>> {
    let mut messages: ByWaId<'w> = HashMap::new();
    for row in rows {
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

/// Takes the news.
pub(crate) fn take<'w>(
    batch: &mut Batch,
    news: Vec<News<'w>>,
    messages: &mut ByWaId<'w>,
    ended: &mut Ended,
) -> Result<()> {
    for (session, piece) in news {
        // News of a message we do not know is no news: another device sent it before we were linked.
        if let Some(message) = messages.get_mut(&(session, piece.wa_id.0.as_str())) {
            advance(batch, message, piece, ended)?;
        }
    }
    Ok(())
}

/// Gives messages up.
pub(crate) fn fail(
    batch: &mut Batch,
    messages: &mut [Outgoing],
    (code, reason, at): (&str, &str, Timestamp),
    ended: &mut Ended,
) -> Result<()> {
    for message in messages {
        let news = MessageNews {
            wa_id: WaId(message.wa_id.clone()),
            state: MessageState::Failed,
            failure: Some((code.to_owned(), reason.to_owned())),
            at,
        };
        advance(batch, message, &news, ended)?;
    }
    Ok(())
}

/// The state with this rank.
pub(crate) fn state(rank: i64) -> Result<MessageState> {
    let known = MessageState::ALL.into_iter().find(|state| state.rank() == rank);
    known.ok_or_else(|| Error::bug("a stored message has an unknown state"))
}

/// Moves one message if the news is news.
fn advance(batch: &mut Batch, message: &mut Outgoing, news: &MessageNews, ended: &mut Ended) -> Result<()> {
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
        batch.sessions.finished(message.session)?;
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
    batch.emit(message.session, kind, news.at, &data)
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

/// Why a message fails at its deadline: code and sentence.
const OVERDUE: (&str, &str) =
    ("deadline_passed", "WhatsApp did not acknowledge the message before its deadline");

/// The same for one that pacing held until then.
const HELD: (&str, &str) = (
    "deadline_passed",
    "the message was held by the pacing of its session until its deadline, and never given to WhatsApp",
);

/// Fails messages past their deadline, of which pacing held these.
pub(crate) fn fail_overdue(
    batch: &mut Batch,
    (messages, held): (&mut [Outgoing], &[bool]),
    at: Timestamp,
    ended: &mut Ended,
) -> Result<()> {
    for (message, held) in messages.iter_mut().zip(held) {
        let (code, reason) = if *held { HELD } else { OVERDUE };
        fail(batch, std::slice::from_mut(message), (code, reason, at), ended)?;
    }
    Ok(())
}

/// A message past its deadline: session, id, WhatsApp's id, chat, peer, state and command, and whether pacing held it.
pub(crate) fn overdue(row: &impl Columns) -> Result<(Outgoing, bool)> {
    let mut message = Outgoing::new(SessionId(row.id(0)?), MessageId(row.id(1)?), state(row.int(5)?)?);
    message.wa_id = row.text(2)?.to_owned();
    message.chat = row.text(3)?.to_owned();
    message.peer = row.text(4)?.to_owned();
    message.command = Some(CommandId(row.id(6)?));
    Ok((message, row.int(7)? != 0))
}

/// The messages that moved, and when.
pub(crate) fn moved<'o>(messages: impl Iterator<Item = &'o Outgoing>) -> Vec<(&'o Outgoing, Timestamp)> {
    messages.filter_map(|message| Some((message, message.updated?))).collect()
}
