//! The relay of one shard: has what is committed numbered, and carries it to the streams.
//!
//! Promises: every committed row reaches its stream, once, in order, without gaps, whatever the stream loses and
//! wherever the relay dies. A relay that lost its lease numbers nothing and ends. A lost wake-up costs at most one
//! poll. A stream that holds more than the table was ever given is never appended to: that needs a person.
//!
//! How: the relay lends the ledger its right to number, and each commit numbers what it adds; what was committed without
//! (before this relay, or when a commit failed) the relay numbers itself, in a fenced transaction. Then rows above the stream's tail are appended on the
//! condition that the tail is still what it was. The tail is asked from the stream, never remembered across a failure,
//! so any loss heals itself. Numbering and carrying overlap; each log is carried by its own task.

mod publish;
mod recent;
mod refill;
mod relays;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::time::Instant;

use self::publish::{Lane, Progress};
use super::ledger::Ledgers;
use super::task::{ChildTask, Panicked, send_at, spawn_child};
use crate::domain::error::{Error, Kind, Result};
use crate::domain::event::Log;
use crate::domain::ids::{Fence, Position};
use crate::domain::write::{Outcome, Write};
use crate::infra::store::Store;
use crate::infra::stream::{Stream, StreamKey};

pub use self::refill::{prepare, refill_floor};
pub use self::relays::Relays;

/// The behaviour.
pub struct Relay;

/// What it needs.
pub struct Arguments {
    /// The right to number this shard's rows.
    pub fence: Fence,
    /// Where its wake-ups come from; it attaches itself.
    pub relays: Relays,
    /// Numbers rows.
    pub ledgers: Ledgers,
    /// Reads rows to carry.
    pub store: Arc<dyn Store>,
    /// Where to.
    pub stream: Arc<dyn Stream>,
    /// Its pace.
    pub settings: Settings,
}

/// The pace of a relay.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Rows numbered in one transaction.
    pub stamp: usize,
    /// Rows appended at once.
    pub batch: usize,
    /// How long a lost wake-up may go unnoticed.
    pub poll: Duration,
    /// How often acknowledged entries are removed from the streams.
    pub trim: Duration,
    /// Entries left behind the tail for readers without a group.
    pub keep: usize,
    /// How long one round of reading and appending may take.
    pub deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stamp: 1024,
            batch: 512,
            poll: Duration::from_millis(500),
            trim: Duration::from_secs(2),
            keep: 1024,
            deadline: Duration::from_secs(30),
        }
    }
}

/// What it understands.
pub enum Msg {
    /// Something was committed and numbered, or has to be numbered.
    Wake,
    /// Look whether something was committed unnoticed or the stream lost something.
    Poll,
    /// How far each log is.
    Status(RpcReplyPort<Vec<Status>>),
    /// What it tells itself.
    Note(Note),
}

/// What a relay tells itself; of no use to others.
pub struct Note(Inner);

enum Inner {
    /// A numbering transaction ended.
    Stamped(Result<Result<Outcome>, Panicked>),
    /// A round of carrying ended.
    Published(Log, Result<Result<Progress>, Panicked>),
    /// A log may be carried again.
    Again(Log),
}

/// How far one log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which.
    pub log: Log,
    /// The last position given, as far as the relay knows.
    pub head: Position,
    /// The stream's last position, once known.
    pub tail: Option<Position>,
    /// Whether the stream holds positions that the table never gave.
    pub ahead: bool,
}

/// What it holds.
pub struct State {
    args: Arguments,
    stamping: Option<ChildTask>,
    /// A wake-up came while a numbering transaction was under way.
    again: bool,
    /// Whether the last numbering failed: said once, not at every try.
    failing: bool,
    lanes: [Lane; 2],
    poll: Option<ChildTask>,
}

impl Actor for Relay {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Arguments) -> Result<State, ActorProcessingErr> {
        args.relays.attach(args.fence, args.settings.stamp, myself.clone());
        myself.cast(Msg::Poll)?;
        let lanes = Log::ALL.map(|log| Lane::new(StreamKey { shard: args.fence.shard, log }));
        Ok(State { args, stamping: None, again: false, failing: false, lanes, poll: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Wake => {
                if state.args.relays.woken(state.args.fence.shard) {
                    state.stamp(&myself);
                }
                state.carry(&myself);
            }
            Msg::Poll => {
                // Asking the stream for its tail again is how a loss is noticed while nothing new comes.
                state.lanes.iter_mut().for_each(Lane::forget_tail);
                state.stamp(&myself);
                let at = Instant::now() + state.args.settings.poll;
                state.poll = Some(send_at(&myself, at, || Msg::Poll));
            }
            Msg::Status(reply) => {
                let _asker_gone = reply.send(state.lanes.iter().map(Lane::status).collect());
            }
            Msg::Note(Note(Inner::Stamped(outcome))) => state.stamped(&myself, outcome)?,
            Msg::Note(Note(Inner::Published(log, outcome))) => state.published(&myself, log, outcome),
            Msg::Note(Note(Inner::Again(log))) => state.publish(&myself, log),
        }
        Ok(())
    }
}

impl State {
    /// Carries what the last commit numbered.
    fn carry(&mut self, myself: &ActorRef<Msg>) {
        let Some(heads) = self.args.relays.heads(self.args.fence.shard) else { return };
        for (lane, head) in self.lanes.iter_mut().zip(heads) {
            lane.know_head(head);
        }
        Log::ALL.into_iter().for_each(|log| self.publish(myself, log));
    }

    /// Numbers what has no position, unless that is under way: then once more afterwards.
    fn stamp(&mut self, myself: &ActorRef<Msg>) {
        if self.stamping.is_some() {
            self.again = true;
            return;
        }
        let ledgers = self.args.ledgers.clone();
        let write = Write::Stamp(self.args.fence, self.args.settings.stamp);
        let work = async move { ledgers.write_patiently(write).await };
        let done = |outcome| Msg::Note(Note(Inner::Stamped(outcome)));
        self.stamping = Some(spawn_child(myself, work, done));
    }

    fn stamped(&mut self, myself: &ActorRef<Msg>, outcome: Result<Result<Outcome>, Panicked>) -> Result<()> {
        self.stamping = None;
        let mut more = std::mem::take(&mut self.again);
        match outcome.unwrap_or_else(|panicked| Err(Error::bug(panicked))) {
            Ok(Outcome::Stamped { stamped, .. }) => {
                self.failing = false;
                more |= stamped >= self.args.settings.stamp;
                self.carry(myself);
            }
            Err(error) if error.kind == Kind::Fenced => return Err(error),
            // The poll tries again: without a store there are no commits that could not wait.
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(shard = %self.args.fence.shard, %error, "rows cannot be numbered; trying on");
                }
                return Ok(());
            }
            Ok(other) => {
                tracing::error!(?other, "the answer to a stamp is not one");
                return Ok(());
            }
        }
        if more {
            self.stamp(myself);
        }
        Ok(())
    }

    /// Carries what the stream lacks, unless that is under way, has to wait, or there is nothing.
    fn publish(&mut self, myself: &ActorRef<Msg>, log: Log) {
        let args = &self.args;
        for lane in self.lanes.iter_mut().filter(|lane| lane.log() == log) {
            let Some(work) = lane.begin(args) else { continue };
            let done = move |outcome| Msg::Note(Note(Inner::Published(log, outcome)));
            lane.running(spawn_child(myself, work, done));
        }
    }

    fn published(&mut self, myself: &ActorRef<Msg>, log: Log, outcome: Result<Result<Progress>, Panicked>) {
        let outcome = outcome.unwrap_or_else(|panicked| Err(Error::bug(panicked)));
        let mut stamp = false;
        for lane in self.lanes.iter_mut().filter(|lane| lane.log() == log) {
            let next = lane.end(&outcome);
            stamp |= next.stamp;
            if let Some(wait) = next.again {
                let again = move || Msg::Note(Note(Inner::Again(log)));
                let until = Instant::now() + wait;
                lane.waiting(send_at(myself, until, again), until);
            }
        }
        if stamp {
            self.stamp(myself);
        }
        self.publish(myself, log);
    }
}
