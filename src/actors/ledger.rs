//! The writer of some shards: what waits in its mailbox becomes one transaction.
//!
//! Promises: an answer is given after the commit; one bad write never fails another; beyond a bounded depth new
//! writes are refused at once with `Busy` and lose nothing.
//!
//! Group commit without a timer for whoever waits: the first write casts `Flush` behind itself. The mailbox is first in,
//! first out, so all that arrived with it stands in front. Only what nobody waits for is put off by some milliseconds.
//! What arrives during a commit is the next batch, begun at its end, or two by turns ([`waiting`]). Each transaction
//! numbers the rows it adds, with the right its shard's relay lends.

mod waiting;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use self::waiting::Waiting;
use super::consumer::Consumers;
pub use super::ledgers::Ledgers;
use super::relay::Relays;
use super::task::{ChildTask, send_at, spawn_child};
use crate::domain::error::{Error, Kind, Result};
use crate::domain::ids::Shard;
use crate::domain::write::{Outcome, Write};
use crate::infra::store::{Answers, Store};
use crate::telemetry;

/// The most writes of one transaction: keeps a commit under a few milliseconds.
const BATCH_LIMIT: usize = 512;

/// So many writes in a row that the store does not answer, and it is not asked about the rest of a batch.
const AWAY: u32 = 2;

/// How long a write that is in no hurry waits for others to ride with.
const UNHURRIED: Duration = Duration::from_millis(10);

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
    /// Commit what has gathered, unless a commit is under way.
    Flush,
    /// The commit under way has ended.
    Committed,
}

/// Where an answer goes, and the room its write takes up until then.
type Reply = (RpcReplyPort<Result<Outcome>>, OwnedSemaphorePermit);

/// What it holds: the batch being gathered, and the one being committed.
pub struct State {
    store: Arc<dyn Store>,
    relays: Relays,
    consumers: Consumers,
    ledgers: Ledgers,
    waiting: Waiting,
    under_way: Option<UnderWay>,
    /// Whether a `Flush` is in the mailbox.
    called: bool,
    /// The `Flush` to come for what is in no hurry.
    later: Option<ChildTask>,
}

/// A batch on its way through the store.
struct Batch {
    writes: Arc<[Write]>,
    /// The shards whose logs it adds to.
    shards: BTreeSet<Shard>,
    replies: Vec<Reply>,
    since: Instant,
}

/// The batch being committed, and its answers to come.
struct UnderWay {
    batch: Batch,
    answers: oneshot::Receiver<Answers>,
    _task: ChildTask,
}

impl Actor for Ledger {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, _myself: ActorRef<Msg>, args: Arguments) -> Result<State, ActorProcessingErr> {
        let Arguments { store, relays, consumers, ledgers } = args;
        let waiting = Waiting::new(store.accepts_apart());
        Ok(State { store, relays, consumers, ledgers, waiting, under_way: None, called: false, later: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Write(write, reply, permit) => {
                state.waiting.push(*write, (reply, permit));
                if !state.called && state.under_way.is_none() {
                    state.call(&myself)?;
                }
            }
            Msg::Flush => {
                (state.called, state.later) = (false, None);
                state.begin(&myself);
            }
            Msg::Committed => {
                let ended = state.under_way.take();
                // First, so that the store is at work while the answers go out.
                if state.waiting.hurried() {
                    state.begin(&myself);
                } else {
                    state.call(&myself)?;
                }
                if let Some(UnderWay { batch, answers, _task }) = ended {
                    state.end(batch, answers.await.ok());
                }
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _myself: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        if let Some(UnderWay { batch, answers, _task }) = state.under_way.take() {
            state.end(batch, answers.await.ok());
        }
        while let Some(batch) = state.gathered() {
            let answers = commit(&*state.store, &batch.writes).await;
            state.end(batch, Some(answers));
        }
        Ok(())
    }
}

impl State {
    /// Has what waits committed: behind what is in the mailbox, or a little later when there is no hurry.
    fn call(&mut self, myself: &ActorRef<Msg>) -> Result<(), ActorProcessingErr> {
        if self.waiting.hurried() {
            self.called = true;
            myself.cast(Msg::Flush)?;
        } else if !self.waiting.is_empty() && self.later.is_none() {
            self.later = Some(send_at(myself, Instant::now() + UNHURRIED, || Msg::Flush));
        }
        Ok(())
    }

    /// What has gathered, up to the limit, with what numbers the rows it adds.
    fn gathered(&mut self) -> Option<Batch> {
        let (mut writes, replies): (Vec<_>, Vec<_>) = self.waiting.take(BATCH_LIMIT).into_iter().unzip();
        if writes.is_empty() {
            return None;
        }
        let shards: BTreeSet<_> = writes.iter().filter_map(Write::wakes).collect();
        writes.extend(shards.iter().filter_map(|shard| self.relays.stamp(*shard)));
        Some(Batch { writes: writes.into(), shards, replies, since: Instant::now() })
    }

    /// Commits what has gathered, unless a commit is under way: its end begins the next.
    fn begin(&mut self, myself: &ActorRef<Msg>) {
        if self.under_way.is_some() {
            return;
        }
        let Some(batch) = self.gathered() else { return };
        let (sender, answers) = oneshot::channel();
        let (store, writes) = (Arc::clone(&self.store), Arc::clone(&batch.writes));
        let work = async move {
            let _ledger_gone = sender.send(commit(&*store, &writes).await);
        };
        let task = spawn_child(myself, work, |_ended_or_panicked| Msg::Committed);
        self.under_way = Some(UnderWay { batch, answers, _task: task });
    }

    /// Tells everybody concerned. Without answers the store has panicked: callers learn that the outcome is unknown.
    fn end(&self, batch: Batch, answers: Option<Answers>) {
        telemetry::ledger_commit(batch.replies.len(), batch.since.elapsed());
        let Some(mut answers) = answers else { return };
        if answers.iter().any(Result::is_ok) {
            self.ledgers.committed();
        }
        self.tell_relays(&batch.writes, &answers, batch.shards);
        if batch.writes.iter().any(|write| matches!(write, Write::Redrive(_))) {
            self.consumers.redrive();
        }
        answers.truncate(batch.replies.len());
        for ((reply, _permit), answer) in batch.replies.into_iter().zip(answers) {
            if reply.send(answer).is_err() {
                tracing::debug!("a write was committed for a caller that had gone");
            }
        }
    }

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
    // A store that is away is away for all: their callers would have gone before it had refused each of them.
    let mut away = 0;
    for write in writes.iter() {
        if away == AWAY {
            answers.push(Err(failure.clone()));
            continue;
        }
        let answer = store.commit(Arc::new([write.clone()])).await;
        let failed = matches!(&answer, Err(error) if error.kind == Kind::Unavailable);
        away = if failed { away + 1 } else { 0 };
        answers.push(
            answer.and_then(|mut one| {
                one.pop().unwrap_or_else(|| Err(Error::bug("a write without an answer")))
            }),
        );
    }
    answers
}
