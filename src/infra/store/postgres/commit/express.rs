//! The short way: the accepted messages of a batch, and what numbers them, are one call of a function in the database
//! and one round trip. Why: docs/adr/0013.
//!
//! Promises: it accepts all it is given or changes nothing; whoever is told `None` goes the long way, which judges.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::{ChatIds, handled};
use crate::domain::address::Server;
use crate::domain::data::Data;
use crate::domain::error::{Error, Result};
use crate::domain::event::{Entry, Event, EventType, Log};
use crate::domain::ids::{EventId, Fence, Position, Shard};
use crate::domain::time::now;
use crate::domain::write::{Accept, Handled, NewMessage, Write};
use crate::infra::store::batch::accept::queued_data;
use crate::infra::store::batch::outbox::{NewCommand, wake_data};
use crate::infra::store::columns::limit;
use crate::infra::store::postgres::sql::{Cells, UNUSUAL, row};

/// What consumers have handled rides along, where there is any.
const CALL: &str = "select a.* from recado_accept($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
    $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27) a";
const CALL_BOTH: &str = "select a.*, recado_handled($28, $29, $30, $31, $32, $33, $34, $35) from recado_accept($1, $2, $3, \
    $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27) a";

/// By stamped shard: where its logs end now, and what was added to each.
pub(super) type Accepted = BTreeMap<Shard, ([Position; 2], [Vec<Entry>; 2])>;

/// One message to accept, with what is told of it.
struct Line<'w> {
    accept: &'w Accept,
    message: &'w NewMessage,
    address: String,
    content: String,
    response: String,
    wake: EventId,
    wake_data: Data,
    event: EventId,
    event_data: Data,
}

/// Messages that may go the short way.
pub(super) struct Express<'w> {
    lines: Vec<Line<'w>>,
    stamps: BTreeMap<Shard, (Fence, usize)>,
}

/// Where the rows of the messages are.
struct Found {
    command_seqs: Vec<i64>,
    event_seqs: Vec<i64>,
    /// By the order of the stamps: where each log ended before.
    command_bases: Vec<i64>,
    event_bases: Vec<i64>,
}

impl<'w> Express<'w> {
    /// Messages only, none of which shares a key or a command with another.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other write goes the long way")]
    pub(super) fn of(writes: impl Iterator<Item = &'w Write>) -> Result<Option<Self>> {
        let (mut lines, mut stamps) = (Vec::new(), BTreeMap::new());
        let (mut keys, mut commands) = (HashSet::new(), HashSet::new());
        for write in writes {
            match write {
                Write::Accept(accept) => {
                    let key = accept.idempotency.as_ref().map(|used| (accept.tenant, used.key.as_str()));
                    let fresh = key.is_none_or(|key| keys.insert(key))
                        && commands.insert(accept.command)
                        && accept.audit.is_none();
                    let Some(message) = accept.message.as_ref().filter(|_| fresh) else { return Ok(None) };
                    lines.push(Line::of(accept, message)?);
                }
                Write::Stamp(fence, most) if stamps.insert(fence.shard, (*fence, *most)).is_none() => (),
                _another => return Ok(None),
            }
        }
        Ok((!lines.is_empty()).then_some(Self { lines, stamps }))
    }

    /// Accepts them all, in the order of the writes, and stores what was handled; `None` when they must be judged.
    pub(super) async fn accept(
        self,
        conn: &mut PgConnection,
        chat_ids: &ChatIds,
        done: &[&Handled],
    ) -> Result<Option<Accepted>> {
        let chats = chat_ids.take(conn, self.lines.len()).await?;
        let cells = self.cells(&chats);
        let answer = match done {
            [] => row(conn, CALL, cells).await,
            done => row(conn, CALL_BOTH, handled::cells(cells, done)).await,
        };
        let found = match answer {
            Ok(found) => found.ok_or_else(|| Error::bug("a function without an answer"))?,
            Err(error) if error.code == UNUSUAL => return Ok(None),
            Err(error) => return Err(error),
        };
        let list = |column| found.try_get::<Option<Vec<i64>>, _>(column).map_err(Error::bug);
        let found = Found {
            command_seqs: list(0)?.unwrap_or_default(),
            event_seqs: list(1)?.unwrap_or_default(),
            command_bases: list(2)?.unwrap_or_default(),
            event_bases: list(3)?.unwrap_or_default(),
        };
        self.accepted(&found).map(Some)
    }

    fn cells(&self, chats: &[i64]) -> Cells {
        let lines = || self.lines.iter();
        let accepts = || lines().map(|line| line.accept);
        let messages = || lines().map(|line| line.message);
        let keys = || accepts().map(|accept| accept.idempotency.as_ref());
        let keyed = keys().any(|key| key.is_some());
        let count = if keyed { self.lines.len() } else { 0 };
        let side = |server: Server| {
            lines().map(move |line| (line.message.to.server() == server).then_some(line.address.as_str()))
        };
        Cells::new()
            .ints(self.stamps.keys().map(|shard| i64::from(shard.0)))
            .ints(self.stamps.values().map(|(fence, _)| fence.epoch.0))
            .ints(self.stamps.values().map(|(_, most)| limit(*most)))
            .int(now().0)
            .ids(accepts().map(|accept| accept.tenant.0))
            .ids(accepts().map(|accept| accept.session.0))
            .ints(accepts().map(|accept| accept.queue_limit))
            .ints(accepts().map(|accept| accept.at.0))
            .ids(accepts().map(|accept| accept.command.0))
            .texts(accepts().map(|accept| accept.kind.as_str()))
            .ids(lines().map(|line| line.wake.0))
            .texts(lines().map(|line| line.wake_data.as_str()))
            .opt_texts(keys().take(count).map(|key| key.map(|used| used.key.as_str())))
            .opt_blobs(keys().take(count).map(|key| key.map(|used| used.fingerprint.as_slice())))
            .texts(lines().take(count).map(|line| line.response.as_str()))
            .ids(messages().map(|message| message.id.0))
            .texts(messages().map(|message| message.wa_id.0.as_str()))
            .texts(lines().map(|line| line.address.as_str()))
            .opt_texts(side(Server::Phone))
            .opt_texts(side(Server::Lid))
            .texts(lines().map(|line| line.content.as_str()))
            .texts(messages().map(|message| message.content.preview()))
            .ints(messages().map(|message| message.deadline.0))
            .ids(lines().map(|line| line.event.0))
            .texts(lines().map(|line| line.event_data.as_str()))
            .ints(chats.iter().copied())
            .ints(accepts().map(|accept| i64::from(accept.shard.0)))
    }

    /// What was numbered for each stamp, from where the function put its rows.
    fn accepted(&self, found: &Found) -> Result<Accepted> {
        let odd = || Error::bug("a message or a stamp that was not answered");
        let mut accepted = Accepted::new();
        let bases = found.event_bases.iter().zip(&found.command_bases);
        for (shard, (events, commands)) in self.stamps.keys().zip(bases) {
            accepted.insert(*shard, ([Position(*events), Position(*commands)], Default::default()));
        }
        let seqs = found.event_seqs.iter().zip(&found.command_seqs);
        if seqs.len() != self.lines.len() || accepted.len() != self.stamps.len() {
            return Err(odd());
        }
        for (line, (event, command)) in self.lines.iter().zip(seqs) {
            let Some((heads, added)) = accepted.get_mut(&line.accept.shard) else { continue };
            let [events, commands] = heads;
            let ([more_events, more_commands], next) = (added, |head: Position| head.plus(1));
            (*events, *commands) = (next(*events), next(*commands));
            more_events.push(line.entry(Log::DomainEvents, *event, *events));
            more_commands.push(line.entry(Log::SessionCommands, *command, *commands));
        }
        Ok(accepted)
    }
}

impl<'w> Line<'w> {
    fn of(accept: &'w Accept, message: &'w NewMessage) -> Result<Self> {
        let command =
            NewCommand { id: accept.command, kind: accept.kind, message: Some(message.id), at: accept.at };
        Ok(Self {
            accept,
            message,
            address: message.to.to_string(),
            content: serde_json::to_string(&message.content).map_err(Error::bug)?,
            response: accept.response.to_string(),
            wake: EventId::new(),
            wake_data: wake_data((accept.tenant, accept.session), &command)?,
            event: EventId::new(),
            event_data: queued_data(message)?,
        })
    }

    fn entry(&self, log: Log, seq: i64, position: Position) -> Entry {
        let (event_id, kind, data) = match log {
            Log::DomainEvents => (self.event, EventType::MessageQueued.as_str(), &self.event_data),
            Log::SessionCommands => (self.wake, self.accept.kind.as_str(), &self.wake_data),
        };
        let event = Event {
            event_id,
            kind: kind.to_owned(),
            version: 1,
            tenant_id: self.accept.tenant,
            session_id: Some(self.accept.session),
            seq,
            position,
            occurred_at: self.accept.at,
            data: data.clone(),
        };
        Entry { position, event: Arc::new(event) }
    }
}
