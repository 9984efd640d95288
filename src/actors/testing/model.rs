//! The part of the tables that relay, consumer and hub use, as a model in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::{Faults, event};
use crate::domain::cluster::Cluster;
use crate::domain::error::{Error, Result};
use crate::domain::event::{Entry, Event, Log};
use crate::domain::ids::{DeadLetterId, Epoch, Fence, MessageId, Position, SessionId, Shard, TenantId, WaId};
use crate::domain::pacing::History;
use crate::domain::time::Timestamp;
use crate::domain::view::{
    ChatView, DeadLetterView, DeliveryState, EventFilter, GroupState, LogHead, MessageView, Page,
    PageRequest, Redriving, SessionView, Transition,
};
use crate::domain::write::{DeliveryFailed, Handled, Outcome, Write};
use crate::infra::store::{Answers, Store};

#[derive(Clone, Default)]
struct Group {
    cursor: Position,
    inbox: BTreeSet<Position>,
    waiting: BTreeMap<Position, DeliveryState>,
}

#[derive(Clone)]
pub(crate) struct Letter {
    pub(crate) id: DeadLetterId,
    pub(crate) event: Event,
    pub(crate) state: &'static str,
    pub(crate) attempts: u32,
    pub(crate) error: String,
}

#[derive(Clone, Default)]
struct Tables {
    epoch: i64,
    unnumbered: Vec<(Log, Event)>,
    numbered: HashMap<Log, Vec<Entry>>,
    seqs: HashMap<(Log, SessionId), i64>,
    groups: HashMap<(Log, String), Group>,
    letters: Vec<Letter>,
}

pub(crate) struct Model {
    faults: Arc<Faults>,
    tables: Mutex<Tables>,
}

impl Model {
    pub(crate) fn new(faults: Arc<Faults>) -> Self {
        Self { faults, tables: Mutex::new(Tables { epoch: 1, ..Tables::default() }) }
    }

    pub(crate) fn set_epoch(&self, epoch: Epoch) {
        self.tables.lock().unwrap().epoch = epoch.0;
    }

    /// Commits one event of a session.
    pub(crate) fn emit(&self, log: Log, session: SessionId) {
        let mut tables = self.tables.lock().unwrap();
        let seq = tables.seqs.entry((log, session)).or_default();
        *seq += 1;
        let event = event(session, *seq);
        tables.unnumbered.push((log, event));
    }

    /// Everything that has a position, in order.
    pub(crate) fn numbered(&self, log: Log) -> Vec<Event> {
        let tables = self.tables.lock().unwrap();
        tables.numbered.get(&log).into_iter().flatten().map(|entry| (*entry.event).clone()).collect()
    }

    pub(crate) fn waiting(&self) -> Vec<DeliveryState> {
        let tables = self.tables.lock().unwrap();
        tables.groups.values().flat_map(|group| group.waiting.values().cloned()).collect()
    }

    pub(crate) fn cursor(&self) -> Position {
        let tables = self.tables.lock().unwrap();
        tables.groups.values().map(|group| group.cursor).max().unwrap_or_default()
    }

    /// How many events have a position.
    pub(crate) fn count(&self, log: Log) -> usize {
        self.tables.lock().unwrap().numbered.get(&log).map_or(0, Vec::len)
    }

    /// What the group has recorded: the cursor, and what is handled above it.
    pub(crate) fn standing(&self) -> (Position, BTreeSet<Position>) {
        let tables = self.tables.lock().unwrap();
        let group = tables.groups.values().next().cloned().unwrap_or_default();
        (group.cursor, group.inbox)
    }

    /// How many events have no position yet.
    pub(crate) fn outbox(&self) -> usize {
        self.tables.lock().unwrap().unnumbered.len()
    }

    pub(crate) fn letters(&self) -> Vec<Letter> {
        self.tables.lock().unwrap().letters.clone()
    }

    pub(crate) fn redrive_all(&self) {
        let mut tables = self.tables.lock().unwrap();
        tables.letters.iter_mut().for_each(|letter| letter.state = "redriving");
    }

    /// Another event of position `at` than the stream was given: the tables lost what they had.
    pub(crate) fn roll_back_to(&self, at: Position) {
        let mut tables = self.tables.lock().unwrap();
        for entries in tables.numbered.values_mut() {
            entries.retain(|entry| entry.position <= at);
        }
    }
}

impl Tables {
    fn apply(&mut self, write: &Write) -> Result<Outcome> {
        match write {
            Write::Stamp(fence, limit) => {
                self.check(*fence)?;
                Ok(self.stamp(*limit))
            }
            Write::Handled(handled) => {
                self.check(handled.fence)?;
                Ok(self.handled(handled))
            }
            Write::DeliveryFailed(failed) => {
                self.check(failed.fence)?;
                let DeliveryFailed { position, event, attempts, next_at, .. } = failed;
                let state = DeliveryState {
                    position: *position,
                    event: *event,
                    attempts: *attempts,
                    next_at: *next_at,
                };
                self.group(failed.log, &failed.group).waiting.insert(*position, state);
                Ok(Outcome::Done)
            }
            Write::Bury(failed) => {
                self.check(failed.fence)?;
                self.bury(failed)
            }
            Write::Redriven(fence, id) => {
                self.check(*fence)?;
                let letter = self.letters.iter_mut().find(|letter| letter.id == *id);
                letter.ok_or_else(|| Error::not_found("dead_letter_not_found", "no such letter"))?.state =
                    "resolved";
                Ok(Outcome::Done)
            }
            Write::AddKey(_)
            | Write::Beat(_)
            | Write::Leave(_)
            | Write::Settle(..)
            | Write::CreateSession(_)
            | Write::Accept(_)
            | Write::TakeLease(_)
            | Write::ReleaseLease(_)
            | Write::Take(_)
            | Write::TakePaced(_)
            | Write::Refused(_)
            | Write::Requeue(..)
            | Write::Finish(_)
            | Write::Progress(_)
            | Write::Inbound(_)
            | Write::Link(_)
            | Write::DeleteSession(..)
            | Write::Auth(_)
            | Write::Redrive(_)
            | Write::Sweep(_)
            | Write::People(_) => absent(),
        }
    }

    fn check(&self, fence: Fence) -> Result<()> {
        if fence.epoch.0 == self.epoch { Ok(()) } else { Err(Error::fenced()) }
    }

    fn group(&mut self, log: Log, name: &str) -> &mut Group {
        self.groups.entry((log, name.to_owned())).or_default()
    }

    fn stamp(&mut self, limit: usize) -> Outcome {
        let count = limit.min(self.unnumbered.len());
        for (log, mut event) in self.unnumbered.drain(..count) {
            let entries = self.numbered.entry(log).or_default();
            let last = entries.last().map(|entry| entry.position).unwrap_or_default();
            event.position = last.plus(1);
            entries.push(Entry { position: event.position, event: Arc::new(event) });
        }
        Outcome::Stamped {
            stamped: count,
            heads: Log::ALL.map(|log| self.head(log)),
            added: Default::default(),
        }
    }

    fn head(&self, log: Log) -> Position {
        let last = self.numbered.get(&log).and_then(|entries| entries.last());
        last.map(|entry| entry.position).unwrap_or_default()
    }

    fn handled(&mut self, handled: &Handled) -> Outcome {
        let group = self.group(handled.log, &handled.group);
        group.cursor = group.cursor.max(handled.cursor);
        group.inbox.extend(handled.above.iter().map(|(position, _)| *position));
        for (position, _) in &handled.above {
            group.waiting.remove(position);
        }
        group.inbox = group.inbox.split_off(&group.cursor.plus(1));
        group.waiting = group.waiting.split_off(&group.cursor.plus(1));
        Outcome::Done
    }

    fn bury(&mut self, failed: &DeliveryFailed) -> Result<Outcome> {
        if let Some(id) = failed.dead_letter {
            let letter = self.letters.iter_mut().find(|letter| letter.id == id);
            let letter = letter.ok_or_else(|| Error::not_found("dead_letter_not_found", "no such letter"))?;
            letter.state = "buried";
            letter.attempts = failed.attempts;
            return Ok(Outcome::Done);
        }
        if self.letters.iter().any(|letter| letter.event.event_id == failed.event) {
            return Ok(Outcome::Done);
        }
        let entries = self.numbered.get(&failed.log).into_iter().flatten();
        let event = entries.clone().find(|entry| entry.position == failed.position);
        let event =
            (*event.ok_or_else(|| Error::not_found("event_not_found", "no such event"))?.event).clone();
        let (attempts, error) = (failed.attempts, failed.error.clone());
        self.letters.push(Letter { id: DeadLetterId::new(), event, state: "buried", attempts, error });
        let group = self.group(failed.log, &failed.group);
        group.waiting.remove(&failed.position);
        if failed.position > group.cursor {
            group.inbox.insert(failed.position);
        }
        Ok(Outcome::Done)
    }
}

pub(super) fn absent<T>() -> Result<T> {
    Err(Error::bug("not part of the model"))
}

#[async_trait]
impl Store for Model {
    async fn commit(&self, batch: Arc<[Write]>) -> Result<Answers> {
        let work = async {
            // What a commit costs on a disk.
            tokio::time::sleep(std::time::Duration::from_micros(500)).await;
            let mut tables = self.tables.lock().unwrap();
            Ok(batch.iter().map(|write| tables.apply(write)).collect())
        };
        self.faults.around(work).await
    }

    async fn events(
        &self,
        _shard: Shard,
        filter: &EventFilter,
        after: Position,
        limit: usize,
    ) -> Result<(Vec<Event>, Position)> {
        let work = async {
            let tables = self.tables.lock().unwrap();
            let rows = tables.numbered.get(&Log::DomainEvents).into_iter().flatten();
            let rows = rows.filter(|entry| entry.position > after);
            let wanted = rows.map(|entry| (*entry.event).clone()).filter(|event| filter.wants(event));
            let events: Vec<Event> = wanted.take(limit).collect();
            let full = events.len() == limit;
            let last = events.last().map(|event| event.position);
            let upto = last.filter(|_| full).unwrap_or_else(|| tables.head(Log::DomainEvents).max(after));
            Ok((events, upto))
        };
        self.faults.around(work).await
    }

    async fn log_after(&self, _shard: Shard, log: Log, after: Position, limit: usize) -> Result<Vec<Entry>> {
        let work = async {
            let tables = self.tables.lock().unwrap();
            let skip = usize::try_from(after.0).unwrap();
            let rows = tables.numbered.get(&log).into_iter().flatten().skip(skip);
            Ok(rows.take(limit).cloned().collect())
        };
        self.faults.around(work).await
    }

    async fn head(&self, _shard: Shard, log: Log) -> Result<LogHead> {
        let work = async {
            let tables = self.tables.lock().unwrap();
            let unstamped = i64::try_from(tables.unnumbered.len()).unwrap();
            Ok(LogHead { head: tables.head(log), unstamped, floor: Position::default() })
        };
        self.faults.around(work).await
    }

    async fn group(&self, _shard: Shard, log: Log, group: &str) -> Result<GroupState> {
        let work = async {
            let mut tables = self.tables.lock().unwrap();
            let Group { cursor, inbox, waiting } = tables.group(log, group).clone();
            let (inbox, waiting) = (inbox.into_iter().collect(), waiting.into_values().collect());
            Ok(GroupState { cursor, inbox, waiting })
        };
        self.faults.around(work).await
    }

    async fn redriving(
        &self,
        _shard: Shard,
        _log: Log,
        _group: &str,
        limit: usize,
    ) -> Result<Vec<Redriving>> {
        let work = async {
            let tables = self.tables.lock().unwrap();
            let asked = tables.letters.iter().filter(|letter| letter.state == "redriving");
            let asked = asked.map(|letter| Redriving { id: letter.id, event: letter.event.clone() });
            Ok(asked.take(limit).collect())
        };
        self.faults.around(work).await
    }

    async fn session(&self, _tenant: TenantId, _session: SessionId) -> Result<Option<SessionView>> {
        absent()
    }

    async fn owned_session(&self, _session: SessionId) -> Result<Option<SessionView>> {
        absent()
    }

    async fn sessions(&self, _tenant: TenantId, _page: PageRequest) -> Result<Page<SessionView>> {
        absent()
    }

    async fn sessions_to_run(
        &self,
        _shard: Shard,
        _after: Option<SessionId>,
        _limit: usize,
    ) -> Result<Vec<SessionId>> {
        absent()
    }

    async fn sessions_behind(
        &self,
        _shard: Shard,
        _before: Timestamp,
        _limit: usize,
    ) -> Result<Vec<SessionId>> {
        absent()
    }

    async fn timeline(&self, _tenant: TenantId, _session: SessionId) -> Result<Vec<Transition>> {
        absent()
    }

    async fn message(&self, _tenant: TenantId, _message: MessageId) -> Result<Option<MessageView>> {
        absent()
    }

    async fn messages(
        &self,
        _tenant: TenantId,
        _session: Option<SessionId>,
        _chat: &str,
        _page: PageRequest,
    ) -> Result<Page<MessageView>> {
        absent()
    }

    async fn chats(
        &self,
        _tenant: TenantId,
        _session: Option<SessionId>,
        _page: PageRequest,
    ) -> Result<Page<ChatView>> {
        absent()
    }

    async fn dead_letters(
        &self,
        _tenant: TenantId,
        _state: Option<&str>,
        _page: PageRequest,
    ) -> Result<Page<DeadLetterView>> {
        absent()
    }

    async fn creds(&self, _session: SessionId) -> Result<Option<Vec<u8>>> {
        absent()
    }

    async fn auth(&self, _session: SessionId, _kind: &str, _key: &str) -> Result<Option<(Vec<u8>, i64)>> {
        absent()
    }

    async fn auth_many(
        &self,
        _session: SessionId,
        _kind: &str,
        _keys: &[String],
    ) -> Result<Vec<(String, Vec<u8>, i64)>> {
        absent()
    }

    async fn auth_prefix(
        &self,
        _session: SessionId,
        _kind: &str,
        _prefix: &str,
    ) -> Result<Vec<(String, Vec<u8>, i64)>> {
        absent()
    }

    async fn pacing(&self, _tenant: TenantId, _session: SessionId) -> Result<Option<History>> {
        absent()
    }

    async fn begins_chat(&self, _tenant: TenantId, _message: MessageId) -> Result<bool> {
        absent()
    }

    async fn has_message(&self, _tenant: TenantId, _session: SessionId, _id: &WaId) -> Result<bool> {
        absent()
    }

    async fn cluster(&self) -> Result<Cluster> {
        absent()
    }

    async fn probe(&self) -> Result<()> {
        absent()
    }

    async fn close(&self) {}
}
