//! The events of a batch, in the order they happened, written at its end. Without a position they are the outbox.

use std::sync::Arc;

use serde::Serialize;

use super::Batch;
use crate::domain::command::CommandType;
use crate::domain::data::Data;
use crate::domain::error::Result;
use crate::domain::event::{DATA_LIMIT, Entry, Event, EventType, Log};
use crate::domain::ids::{CommandId, EventId, MessageId, Position, SessionId, Shard, TenantId};
use crate::domain::time::Timestamp;

/// The version of every shape of `data` written here.
const VERSION: u32 = 1;

/// A row to come; without a position until it is numbered.
pub(crate) struct Row {
    pub(crate) shard: Shard,
    pub(crate) log: Log,
    pub(crate) event: Arc<Event>,
}

impl Row {
    pub(crate) fn position(&self) -> Option<Position> {
        Some(self.event.position).filter(|position| *position > Position::default())
    }

    fn awaits(&self, shard: Shard, log: Log) -> bool {
        self.position().is_none() && self.shard == shard && self.log == log
    }
}

/// What happened in this batch so far.
#[derive(Default)]
pub(crate) struct Outbox(Vec<Row>);

impl Outbox {
    /// How many rows of a log have no position yet.
    pub(crate) fn unnumbered(&self, shard: Shard, log: Log) -> usize {
        self.0.iter().filter(|row| row.awaits(shard, log)).count()
    }

    /// Numbers the first `count` of them, from the position after `last` on, and shows them.
    pub(crate) fn number(&mut self, (shard, log): (Shard, Log), last: Position, count: usize) -> Vec<Entry> {
        let rows = self.0.iter_mut().filter(|row| row.awaits(shard, log)).take(count);
        let number = |(nth, row): (usize, &mut Row)| {
            let position = last.plus(nth + 1);
            Arc::make_mut(&mut row.event).position = position;
            Entry { position, event: Arc::clone(&row.event) }
        };
        rows.enumerate().map(number).collect()
    }

    fn add(&mut self, about: About, kind: &str, at: Timestamp, data: Data) {
        let event = Event {
            event_id: EventId::new(),
            kind: kind.to_owned(),
            version: VERSION,
            tenant_id: about.tenant,
            session_id: about.session,
            seq: about.seq,
            position: Position::default(),
            occurred_at: at,
            data,
        };
        self.0.push(Row { shard: about.shard, log: about.log, event: Arc::new(event) });
    }

    /// The rows, to be written.
    pub(crate) fn rows(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.0)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CommandData {
    command_id: CommandId,
    #[serde(rename = "type")]
    kind: &'static str,
    session_id: SessionId,
    tenant_id: TenantId,
    occurred_at: Timestamp,
    payload: Payload,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<MessageId>,
}

impl CommandData {
    fn of((tenant, session): (TenantId, SessionId), command: &NewCommand) -> Self {
        Self {
            command_id: command.id,
            kind: command.kind.as_str(),
            session_id: session,
            tenant_id: tenant,
            occurred_at: command.at,
            payload: Payload { message_id: command.message },
        }
    }
}

/// What the row of a command on `session-commands` says.
pub(crate) fn wake_data(owner: (TenantId, SessionId), command: &NewCommand) -> Result<Data> {
    Data::of(&CommandData::of(owner, command))
}

/// A command as it enters the log: what it says stays in its tables.
pub(crate) struct NewCommand {
    pub(crate) id: CommandId,
    pub(crate) kind: CommandType,
    pub(crate) message: Option<MessageId>,
    pub(crate) at: Timestamp,
}

impl Batch {
    /// Something happened to a session.
    pub(crate) fn emit(
        &mut self,
        session: SessionId,
        kind: EventType,
        at: Timestamp,
        data: &impl Serialize,
    ) -> Result<()> {
        self.log(session, Log::DomainEvents, (kind.as_str(), at), data).map(drop)
    }

    /// Something is to be done by a session; returns its `seq`.
    pub(crate) fn wake(&mut self, session: SessionId, command: &NewCommand) -> Result<i64> {
        let data = CommandData::of((self.sessions.live(session)?.tenant, session), command);
        self.log(session, Log::SessionCommands, (command.kind.as_str(), command.at), &data)
    }

    /// Something happened to a tenant's people.
    pub(crate) fn emit_of_tenant(
        &mut self,
        (tenant, shard): (TenantId, Shard),
        kind: EventType,
        at: Timestamp,
        data: &impl Serialize,
    ) -> Result<()> {
        let data = bounded(kind.as_str(), data)?;
        let seq = self.tenants.next_seq(tenant)?;
        let about = About { tenant, session: None, shard, log: Log::DomainEvents, seq };
        self.outbox.add(about, kind.as_str(), at, data);
        Ok(())
    }

    fn log(
        &mut self,
        session: SessionId,
        log: Log,
        (kind, at): (&'static str, Timestamp),
        data: &impl Serialize,
    ) -> Result<i64> {
        let data = bounded(kind, data)?;
        let seq = self.sessions.next_seq(session, log)?;
        let row = self.sessions.change(session)?;
        let about = About { tenant: row.tenant, session: Some(session), shard: row.shard, log, seq };
        self.outbox.add(about, kind, at, data);
        Ok(seq)
    }
}

/// What a row is about, and where it belongs.
struct About {
    tenant: TenantId,
    session: Option<SessionId>,
    shard: Shard,
    log: Log,
    seq: i64,
}

fn bounded(kind: &str, data: &impl Serialize) -> Result<Data> {
    let data = Data::of(data)?;
    let bytes = data.as_str().len();
    if bytes <= DATA_LIMIT {
        return Ok(data);
    }
    // Callers keep to the limit; an event that slips through is still an event.
    tracing::error!(kind, bytes, "the data of an event is over its limit and was left out");
    Data::of(&serde_json::json!({"truncated": true}))
}
