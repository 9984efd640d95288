//! Rows as clients may see them: which column is what.

pub(crate) mod people;

use std::sync::Arc;

use crate::domain::content::Content;
use crate::domain::data::Data;
use crate::domain::error::{Error, Result};
use crate::domain::event::{Entry, Event};
use crate::domain::ids::{
    CommandId, DeadLetterId, EventId, MessageId, Position, SessionId, Shard, TenantId, WaId,
};
use crate::domain::message::Direction;
use crate::domain::time::Timestamp;
use crate::domain::view::{
    ChatView, DeadLetterView, DeliveryState, LogHead, MessageView, Redriving, SessionView, Transition,
};
use crate::domain::write::{NewMessage, Taken};
use crate::infra::store::batch::progress;
use crate::infra::store::columns::{Columns, narrow};

/// The most characters of a text that others wrote and a schema of the API bounds.
const SHORT: usize = 512;

/// Such a text, cut if need be: the wire and other programs decide how long a reason or a name is.
fn short(text: &str) -> String {
    let end = text.char_indices().nth(SHORT).map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or_default().to_owned()
}

/// One session.
pub(crate) fn session(row: &impl Columns) -> Result<SessionView> {
    let code = row.opt_text(14)?.zip(row.opt_int(15)?.map(Timestamp));
    Ok(SessionView {
        session_id: SessionId(row.id(0)?),
        tenant_id: TenantId(row.id(1)?),
        name: row.opt_text(2)?,
        state: row.parsed(3)?,
        reason: short(row.text(4)?),
        pn: row.opt_address(5)?,
        lid: row.opt_address(6)?,
        push_name: row.opt_str(7)?.map(short),
        endpoint: serde_json::from_str(row.text(8)?).map_err(Error::bug)?,
        queued: row.int(9)?,
        created_at: Timestamp(row.int(10)?),
        updated_at: Timestamp(row.int(11)?),
        connected_at: row.opt_int(12)?.map(Timestamp),
        shard: Shard(narrow(row.int(13)?)?),
        code,
    })
}

/// One change of a session's state.
pub(crate) fn transition(row: &impl Columns) -> Result<Transition> {
    let (from, to) = (row.parsed(0)?, row.parsed(1)?);
    Ok(Transition { from, to, reason: short(row.text(2)?), at: Timestamp(row.int(3)?) })
}

/// One message.
pub(crate) fn message(row: &impl Columns) -> Result<MessageView> {
    let direction = if row.text(5)? == Direction::In.as_str() { Direction::In } else { Direction::Out };
    Ok(MessageView {
        message_id: MessageId(row.id(0)?),
        wa_message_id: WaId(short(row.text(1)?)),
        session_id: SessionId(row.id(2)?),
        chat: row.text(3)?.to_owned(),
        sender: row.opt_text(4)?.filter(|_| direction == Direction::In),
        direction,
        content: Content::stored(row.text(6)?),
        state: progress::state(row.int(7)?)?,
        code: row.opt_str(8)?.map(short),
        not_before: None,
        failure: row.opt_str(9)?.map(short),
        timestamp: Timestamp(row.int(10)?),
        updated_at: Timestamp(row.int(11)?),
    })
}

/// One chat, with its number.
pub(crate) fn chat(row: &impl Columns) -> Result<(i64, ChatView)> {
    let view = ChatView {
        jid: row.text(1)?.to_owned(),
        session_id: SessionId(row.id(2)?),
        pn: row.opt_text(3)?,
        lid: row.opt_text(4)?,
        name: row.opt_str(5)?.map(short),
        last_message: row.opt_str(6)?.map(short),
        last_message_at: Timestamp(row.int(7)?),
    };
    Ok((row.int(0)?, view))
}

/// One event. The column of the session holds the subject, which is the tenant where there is no session.
pub(crate) fn event(row: &impl Columns) -> Result<Event> {
    let (tenant, subject) = (row.id(3)?, row.id(4)?);
    Ok(Event {
        event_id: EventId(row.id(0)?),
        kind: row.text(1)?.to_owned(),
        version: narrow(row.int(2)?)?,
        tenant_id: TenantId(tenant),
        session_id: (subject != tenant).then_some(SessionId(subject)),
        seq: row.int(5)?,
        position: Position(row.int(6)?),
        occurred_at: Timestamp(row.int(7)?),
        data: Data::stored(row.text(8)?)?,
    })
}

/// One numbered event.
pub(crate) fn entry(row: &impl Columns) -> Result<Entry> {
    let event = event(row)?;
    Ok(Entry { position: event.position, event: Arc::new(event) })
}

/// How far a log is: its head, how many rows wait for a position, the oldest position there is.
pub(crate) fn head(row: &impl Columns) -> Result<LogHead> {
    let head = row.int(0)?;
    let floor = row.opt_int(2)?.map_or(head, |oldest| oldest - 1);
    Ok(LogHead { head: Position(head), unstamped: row.int(1)?, floor: Position(floor) })
}

/// One delivery that waits.
pub(crate) fn delivery(row: &impl Columns) -> Result<DeliveryState> {
    let (attempts, next_at) = (narrow(row.int(2)?)?, Timestamp(row.int(3)?));
    Ok(DeliveryState { position: Position(row.int(0)?), event: EventId(row.id(1)?), attempts, next_at })
}

/// One dead letter on its way again.
pub(crate) fn redriving(row: &impl Columns) -> Result<Redriving> {
    let event = serde_json::from_str(row.text(1)?).map_err(Error::bug)?;
    Ok(Redriving { id: DeadLetterId(row.id(0)?), event })
}

/// One dead letter.
pub(crate) fn dead_letter(row: &impl Columns) -> Result<DeadLetterView> {
    Ok(DeadLetterView {
        dead_letter_id: DeadLetterId(row.id(0)?),
        group: short(row.text(1)?),
        state: row.text(2)?.to_owned(),
        attempts: narrow(row.int(3)?)?,
        error: short(row.text(4)?),
        buried_at: Timestamp(row.int(5)?),
        event: serde_json::from_str(row.text(6)?).map_err(Error::bug)?,
    })
}

/// One value of a family of credentials.
pub(crate) fn credential(row: &impl Columns) -> Result<(String, Vec<u8>, i64)> {
    Ok((row.text(0)?.to_owned(), row.blob(1)?.to_vec(), row.int(2)?))
}

/// One command handed to its session.
pub(crate) fn taken(row: &impl Columns) -> Result<Taken> {
    let message = match row.opt_id(3)? {
        Some(id) => Some(NewMessage {
            id: MessageId(id),
            wa_id: WaId(row.text(4)?.to_owned()),
            to: row.parsed(5)?,
            content: Content::stored(row.text(6)?),
            deadline: Timestamp(row.opt_int(7)?.unwrap_or(i64::MAX)),
        }),
        None => None,
    };
    Ok(Taken { command: CommandId(row.id(0)?), kind: row.parsed(1)?, seq: row.int(2)?, message })
}
