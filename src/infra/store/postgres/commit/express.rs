//! The short way: a batch of nothing but accepted messages, and what numbers them, is one call of a function in the
//! database and one round trip. Why: docs/adr/0013.
//!
//! Promises: it accepts all of a batch or changes nothing; whoever is told `None` goes the long way, which judges.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use sqlx::postgres::{PgConnection, PgRow};

use super::ChatIds;
use crate::domain::address::Server;
use crate::domain::data::Data;
use crate::domain::error::{Error, Result};
use crate::domain::event::{Entry, Event, EventType, Log};
use crate::domain::ids::{EventId, Fence, Position, Shard};
use crate::domain::time::now;
use crate::domain::write::{Accept, NewMessage, Outcome, Write};
use crate::infra::store::Answers;
use crate::infra::store::batch::accept::queued_data;
use crate::infra::store::batch::outbox::{NewCommand, wake_data};
use crate::infra::store::columns::{Columns, limit};
use crate::infra::store::postgres::sql::{Cells, UNUSUAL, rows};

const CALL: &str = "select * from recado_accept($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
    $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)";

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

/// A batch that may go the short way.
struct Express<'w> {
    lines: Vec<Line<'w>>,
    stamps: BTreeMap<Shard, (Fence, usize)>,
}

/// Accepts all of the batch; `None` when it must be judged.
pub(in crate::infra::store::postgres) async fn express(
    conn: &mut PgConnection,
    chat_ids: &ChatIds,
    writes: &[Write],
) -> Result<Option<Answers>> {
    let Some(express) = Express::of(writes)? else { return Ok(None) };
    let chats = chat_ids.take(conn, express.lines.len()).await?;
    let found = match rows(conn, CALL, express.cells(&chats)).await {
        Ok(found) => found,
        Err(error) if error.code == UNUSUAL => return Ok(None),
        Err(error) => return Err(error),
    };
    express.answers(writes, &found).map(Some)
}

impl<'w> Express<'w> {
    /// Messages only, none of which shares a key or a command with another.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other write goes the long way")]
    fn of(writes: &'w [Write]) -> Result<Option<Self>> {
        let (mut lines, mut stamps) = (Vec::new(), BTreeMap::new());
        let (mut keys, mut commands) = (HashSet::new(), HashSet::new());
        for write in writes {
            match write {
                Write::Accept(accept) => {
                    let key = accept.idempotency.as_ref().map(|used| (accept.tenant, used.key.as_str()));
                    let fresh = key.is_none_or(|key| keys.insert(key)) && commands.insert(accept.command);
                    let Some(message) = accept.message.as_ref().filter(|_| fresh) else { return Ok(None) };
                    lines.push(Line::of(accept, message)?);
                }
                Write::Stamp(fence, most) if stamps.insert(fence.shard, (*fence, *most)).is_none() => (),
                _another => return Ok(None),
            }
        }
        Ok((!lines.is_empty()).then_some(Self { lines, stamps }))
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

    /// What each write is answered, from where the function put its rows.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other write goes the long way")]
    fn answers(self, writes: &[Write], found: &[PgRow]) -> Result<Answers> {
        let mut heads: BTreeMap<Shard, [Position; 2]> = BTreeMap::new();
        let mut added: BTreeMap<Shard, [Vec<Entry>; 2]> = BTreeMap::new();
        let shards: Vec<Shard> = self.stamps.keys().copied().collect();
        let at = |n: i64| usize::try_from(n - 1).map_err(Error::bug);
        for row in found {
            let n = row.int(0)?;
            if n < 0 {
                let shard =
                    shards.get(at(-n)?).ok_or_else(|| Error::bug("a stamp that was not asked for"))?;
                heads.insert(*shard, [Position(row.int(4)?), Position(row.int(2)?)]);
                continue;
            }
            let line = self.lines.get(at(n)?).ok_or_else(|| Error::bug("a message that was not given"))?;
            let (Some(command), Some(event)) = (row.opt_int(2)?, row.opt_int(4)?) else { continue };
            let [events, commands] = added.entry(line.accept.shard).or_default();
            events.push(line.entry(Log::DomainEvents, row.int(3)?, Position(event)));
            commands.push(line.entry(Log::SessionCommands, row.int(1)?, Position(command)));
        }
        let answer = |write: &Write| match write {
            Write::Accept(accept) => {
                Ok(Outcome::Accepted { response: accept.response.clone(), replayed: false })
            }
            Write::Stamp(fence, _) => {
                let heads = heads.get(&fence.shard).copied().unwrap_or_default();
                let added = added.remove(&fence.shard).unwrap_or_default();
                Ok(Outcome::Stamped { stamped: added.iter().map(Vec::len).sum(), heads, added })
            }
            _another => Err(Error::bug("a write that cannot go the short way")),
        };
        Ok(writes.iter().map(answer).collect())
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
            session_id: self.accept.session,
            seq,
            position,
            occurred_at: self.accept.at,
            data: data.clone(),
        };
        Entry { position, event: Arc::new(event) }
    }
}
