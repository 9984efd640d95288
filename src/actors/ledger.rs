//! The one writer: what waits in its mailbox becomes one transaction.
//!
//! Promises: an answer is given after the commit; one bad write never fails another; beyond a bounded depth new
//! writes are refused at once with `Busy` and lose nothing.
//!
//! Group commit without a timer: the first write of a batch casts `Flush` behind itself. The mailbox is first in,
//! first out, so all that arrived meanwhile stands in front of it. Each transaction numbers the rows it adds, with the
//! right its shard's relay lends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::consumer::Consumers;
use super::relay::Relays;
use crate::domain::error::{Error, Kind, Result};
use crate::domain::ids::Shard;
use crate::domain::write::{Outcome, Write};
use crate::infra::store::{Answers, Store};
use crate::telemetry;

/// The most writes of one transaction: keeps a commit under a few milliseconds.
const BATCH_LIMIT: usize = 512;

/// How long a caller waits for its commit before it is told `Unavailable`.
const COMMIT_DEADLINE: Duration = Duration::from_secs(10);

/// The behaviour.
pub struct Ledger;

/// What it needs.
pub struct Arguments {
    /// The tables.
    pub store: Arc<dyn Store>,
    /// Whom to wake after a commit.
    pub relays: Relays,
    /// Whom to tell of dead letters to deliver again.
    pub consumers: Consumers,
    /// Its own address: told of each commit.
    pub ledgers: Ledgers,
}

/// What it understands.
pub enum Msg {
    /// One change, its answer's way back, and its place in the bounded queue.
    Write(Box<Write>, RpcReplyPort<Result<Outcome>>, OwnedSemaphorePermit),
    /// Commit what has gathered.
    Flush,
}

/// What it holds: the batch being gathered.
pub struct State {
    store: Arc<dyn Store>,
    relays: Relays,
    consumers: Consumers,
    ledgers: Ledgers,
    writes: Vec<Write>,
    replies: Vec<(RpcReplyPort<Result<Outcome>>, OwnedSemaphorePermit)>,
}

impl Actor for Ledger {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, _myself: ActorRef<Msg>, args: Arguments) -> Result<State, ActorProcessingErr> {
        let Arguments { store, relays, consumers, ledgers } = args;
        Ok(State { store, relays, consumers, ledgers, writes: Vec::new(), replies: Vec::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Write(write, reply, permit) => {
                // A caller that gave up must not find its write done later.
                if reply.is_closed() {
                    return Ok(());
                }
                if state.writes.is_empty() {
                    myself.cast(Msg::Flush)?;
                }
                state.writes.push(*write);
                state.replies.push((reply, permit));
                if state.writes.len() >= BATCH_LIMIT {
                    state.flush().await;
                }
            }
            Msg::Flush => state.flush().await,
        }
        Ok(())
    }

    async fn post_stop(&self, _myself: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.flush().await;
        Ok(())
    }
}

impl State {
    async fn flush(&mut self) {
        if self.writes.is_empty() {
            return;
        }
        let mut writes = std::mem::take(&mut self.writes);
        let shards: BTreeSet<_> = writes.iter().filter_map(Write::wakes).collect();
        writes.extend(shards.iter().filter_map(|shard| self.relays.stamp(*shard)));
        let writes: Arc<[Write]> = writes.into();
        let replies = std::mem::take(&mut self.replies);
        let started = tokio::time::Instant::now();
        let mut answers = commit(&*self.store, &writes).await;
        telemetry::ledger_commit(replies.len(), started.elapsed());
        if answers.iter().any(Result::is_ok) {
            self.ledgers.committed.store(Some(Arc::new(tokio::time::Instant::now())));
        }
        self.tell_relays(&writes, &answers, shards);
        answers.truncate(replies.len());
        if writes.iter().any(|write| matches!(write, Write::Redrive(_))) {
            self.consumers.redrive();
        }
        for ((reply, _permit), answer) in replies.into_iter().zip(answers) {
            if reply.send(answer).is_err() {
                tracing::debug!("a write was committed for a caller that had gone");
            }
        }
    }
}

impl State {
    /// Tells how far the commit numbered each log, and whom to wake for it.
    fn tell_relays(&self, writes: &[Write], answers: &Answers, mut added: BTreeSet<Shard>) {
        for (write, answer) in writes.iter().zip(answers) {
            let (Write::Stamp(fence, most), Ok(Outcome::Stamped { stamped, heads, added: rows })) =
                (write, answer)
            else {
                continue;
            };
            self.relays.numbered(fence.shard, *heads, rows);
            if stamped < most && added.remove(&fence.shard) {
                self.relays.publish(fence.shard);
            }
        }
        for shard in added {
            self.relays.wake(shard);
        }
    }
}

/// Commits a batch; if the transaction fails as a whole, replays it one by one so that one bad write fails alone.
async fn commit(store: &dyn Store, writes: &Arc<[Write]>) -> Answers {
    let failure = match store.commit(writes.clone()).await {
        Ok(answers) => return answers,
        Err(error) => error,
    };
    if writes.len() == 1 {
        return vec![Err(failure)];
    }
    tracing::warn!(error = %failure, writes = writes.len(), "a batch failed and is replayed write by write");
    let mut answers = Vec::with_capacity(writes.len());
    for write in writes.iter() {
        let answer = store.commit(Arc::new([write.clone()])).await;
        answers.push(
            answer.and_then(|mut one| {
                one.pop().unwrap_or_else(|| Err(Error::bug("a write without an answer")))
            }),
        );
    }
    answers
}

/// The way to the ledgers, for whoever writes.
#[derive(Clone)]
pub struct Ledgers {
    /// Replaced at a restart of the actor; readers never wait.
    slot: Arc<arc_swap::ArcSwapOption<ActorRef<Msg>>>,
    permits: Arc<Semaphore>,
    depth: usize,
    committed: Arc<arc_swap::ArcSwapOption<tokio::time::Instant>>,
}

impl Ledgers {
    /// A way to a ledger that is yet to start; refuses beyond `depth` waiting writes.
    #[must_use]
    pub fn new(depth: usize) -> Self {
        Self {
            slot: Arc::default(),
            permits: Arc::new(Semaphore::new(depth)),
            depth,
            committed: Arc::default(),
        }
    }

    /// Points at the actor just started.
    pub fn attach(&self, actor: ActorRef<Msg>) {
        self.slot.store(Some(Arc::new(actor)));
    }

    /// When the last write was committed.
    #[must_use]
    pub fn last_commit(&self) -> Option<tokio::time::Instant> {
        self.committed.load_full().map(|at| *at)
    }

    /// How many writes wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.depth - self.permits.available_permits()
    }

    /// Commits one change and answers after the commit.
    ///
    /// # Errors
    /// The write's own refusal; `Busy` when too many wait; `Unavailable` when the ledger does not answer.
    pub async fn write(&self, write: Write) -> Result<Outcome> {
        let permit = self.permits.clone().try_acquire_owned();
        let permit =
            permit.map_err(|_full| Error::busy("ledger_busy", "too many writes wait; try again shortly"))?;
        self.send(write, permit).await
    }

    /// Like [`Self::write`], but waits for room: for our own actors, whose pace the store should set.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub async fn write_patiently(&self, write: Write) -> Result<Outcome> {
        let room = tokio::time::timeout(COMMIT_DEADLINE, self.permits.clone().acquire_owned()).await;
        let permit = room.map_err(|_late| Error::busy("ledger_busy", "too many writes wait"))?;
        let permit = permit.map_err(|_closed| Error::unavailable("ledger_gone", "the ledger is stopping"))?;
        self.send(write, permit).await
    }

    async fn send(&self, write: Write, permit: OwnedSemaphorePermit) -> Result<Outcome> {
        let gone = || Error::new(Kind::Unavailable, "ledger_gone", "the ledger is restarting");
        let actor = self.slot.load_full().ok_or_else(gone)?;
        let (sender, receiver) = ractor::concurrency::oneshot();
        let message = Msg::Write(Box::new(write), sender.into(), permit);
        actor.cast(message).map_err(|_stopped| gone())?;
        match tokio::time::timeout(COMMIT_DEADLINE, receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_dropped)) => Err(gone()),
            Err(_late) => Err(Error::unavailable(
                "commit_late",
                "the store did not commit in time; the outcome is unknown",
            )),
        }
    }
}
