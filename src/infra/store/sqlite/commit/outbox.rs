//! The events of a batch, in the order they happened, written at its end. Without a position they are the outbox.

use rusqlite::Connection;
use serde::Serialize;

use super::Tx;
use crate::domain::command::CommandType;
use crate::domain::error::{Error, Result};
use crate::domain::event::{DATA_LIMIT, EventType, Log};
use crate::domain::ids::{CommandId, EventId, MessageId, Position, SessionId, Shard, TenantId};
use crate::domain::time::Timestamp;
use crate::infra::store::sqlite::sql::log_number;
use crate::infra::store::sqlite::statement::each;

const INSERT: &str = "insert into events (event_id, tenant_id, shard, log, session_id, seq, position, type, version, \
    occurred_at, data) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// The version of every shape of `data` written here.
const VERSION: i64 = 1;

struct Row {
    id: EventId,
    tenant: TenantId,
    shard: Shard,
    log: Log,
    session: SessionId,
    seq: i64,
    position: Option<Position>,
    kind: &'static str,
    at: Timestamp,
    data: String,
}

/// What happened in this batch so far.
#[derive(Default)]
pub(super) struct Outbox(Vec<Row>);

impl Outbox {
    /// How many rows of a log have no position yet.
    pub(super) fn unnumbered(&self, shard: Shard, log: Log) -> usize {
        self.0.iter().filter(|row| row.awaits(shard, log)).count()
    }

    /// Numbers the first `count` of them, from the position after `last` on.
    pub(super) fn number(&mut self, (shard, log): (Shard, Log), last: Position, count: usize) {
        let rows = self.0.iter_mut().filter(|row| row.awaits(shard, log)).take(count);
        for (nth, row) in rows.enumerate() {
            row.position = Some(last.plus(nth + 1));
        }
    }

    pub(super) fn flush(&mut self, conn: &Connection) -> Result<()> {
        let rows = std::mem::take(&mut self.0);
        each(conn, INSERT, &rows, |row, cells| {
            cells.id(row.id.0).id(row.tenant.0).int(i64::from(row.shard.0)).int(log_number(row.log));
            cells.id(row.session.0).int(row.seq).opt_int(row.position.map(|position| position.0));
            cells.text(row.kind).int(VERSION).int(row.at.0).text(&row.data);
        })
        .map(drop)
    }
}

impl Row {
    fn awaits(&self, shard: Shard, log: Log) -> bool {
        self.position.is_none() && self.shard == shard && self.log == log
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

/// A command as it enters the log: what it says stays in its tables.
pub(super) struct NewCommand {
    pub(super) id: CommandId,
    pub(super) kind: CommandType,
    pub(super) message: Option<MessageId>,
    pub(super) at: Timestamp,
}

impl Tx<'_> {
    /// Something happened to a session.
    pub(super) fn emit(
        &mut self,
        session: SessionId,
        kind: EventType,
        at: Timestamp,
        data: &impl Serialize,
    ) -> Result<()> {
        self.log(session, Log::DomainEvents, (kind.as_str(), at), data).map(drop)
    }

    /// Something is to be done by a session; returns its `seq`.
    pub(super) fn wake(&mut self, session: SessionId, command: &NewCommand) -> Result<i64> {
        let data = CommandData {
            command_id: command.id,
            kind: command.kind.as_str(),
            session_id: session,
            tenant_id: self.sessions.live(session)?.tenant,
            occurred_at: command.at,
            payload: Payload { message_id: command.message },
        };
        self.log(session, Log::SessionCommands, (command.kind.as_str(), command.at), &data)
    }

    fn log(
        &mut self,
        session: SessionId,
        log: Log,
        (kind, at): (&'static str, Timestamp),
        data: &impl Serialize,
    ) -> Result<i64> {
        let mut data = serde_json::to_string(data).map_err(Error::bug)?;
        if data.len() > DATA_LIMIT {
            // Callers keep to the limit; an event that slips through is still an event.
            tracing::error!(
                kind,
                bytes = data.len(),
                "the data of an event is over its limit and was left out"
            );
            data = r#"{"truncated":true}"#.to_owned();
        }
        let seq = self.sessions.next_seq(session, log)?;
        let row = self.sessions.change(session)?;
        let (tenant, shard) = (row.tenant, row.shard);
        self.outbox.0.push(Row {
            id: EventId::new(),
            tenant,
            shard,
            log,
            session,
            seq,
            position: None,
            kind,
            at,
            data,
        });
        Ok(seq)
    }
}
