//! A consumer: does something for each event of one log of one shard, on behalf of one group.
//!
//! Promises: every entry is handled or ends as a dead letter; of one session one delivery at a time, in order, while
//! other sessions go on; a delivery that fails, panics or takes too long is tried again on the schedule, counted in the
//! table so that a restart goes on counting, and buried when its budget is spent; what is stored as handled is never
//! delivered again. A crash between an effect and its record repeats the effect: handlers pass on the event's id.
//!
//! How: all that tasks of the consumer bring back travels one channel, and a `Turn` in the mailbox says that there is
//! something; so a stop can drain what runs without a mailbox, and a thousand results are one turn and one write.

mod delivering;
mod fetch;
mod intake;
mod lanes;
mod progress;
mod record;
mod recording;
mod state;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use super::handler::Handler;
use super::ledger::Ledgers;
use crate::domain::error::{Error, Result};
use crate::domain::event::Log;
use crate::domain::ids::{Fence, Position, Shard};
use crate::domain::retry::Retries;
use crate::infra::store::Store;
use crate::infra::stream::Stream;

pub use self::state::State;

/// The behaviour.
pub struct Consumer;

/// What it needs.
pub struct Arguments {
    /// The right to write for this shard.
    pub fence: Fence,
    /// On whose behalf.
    pub group: String,
    /// Of which log.
    pub log: Log,
    /// What to do.
    pub handler: Arc<dyn Handler>,
    /// Records progress.
    pub ledgers: Ledgers,
    /// Reads progress, and what the stream has lost.
    pub store: Arc<dyn Store>,
    /// Where entries come from.
    pub stream: Arc<dyn Stream>,
    /// Where its redrive hints come from; it attaches itself.
    pub consumers: Consumers,
    /// Its limits and its patience.
    pub settings: Settings,
}

/// Limits and patience of a consumer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Deliveries at once, each of another session.
    pub slots: usize,
    /// The most entries of one delivery.
    pub run: usize,
    /// The most entries held.
    pub window: usize,
    /// How often, and when, a delivery is tried.
    pub retries: Retries,
    /// How long one delivery may take.
    pub deadline: Duration,
    /// How long a stop waits for what runs.
    pub drain: Duration,
    /// How long a redrive may go unnoticed; also how often it looks for entries that others hold.
    pub poll: Duration,
    /// How long others may hold an entry of the group.
    pub claim: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            slots: 64,
            run: 64,
            window: 4096,
            retries: Retries::default(),
            deadline: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            poll: Duration::from_secs(5),
            claim: Duration::from_secs(60),
        }
    }
}

/// The least time between the end of a delivery's deadline and a claim of its entries by another consumer.
const CLAIM_MARGIN: Duration = Duration::from_millis(500);

impl Settings {
    /// Refuses patience that runs out while a delivery may still be under way: another consumer of the group would be
    /// given its entries (`EVENTS_CLAIM_IDLE_MS`) before the deadline has ended it.
    ///
    /// # Errors
    /// `Invalid`, naming the variable.
    pub fn check(&self) -> Result<()> {
        if self.claim >= self.deadline.saturating_add(CLAIM_MARGIN) {
            return Ok(());
        }
        let least = self.deadline.saturating_add(CLAIM_MARGIN).as_millis();
        let message = format!("must be at least {least}: a delivery may take that long");
        Err(Error::invalid("EVENTS_CLAIM_IDLE_MS", "claim_idle_too_short", message))
    }

    /// These settings with a delivery deadline that [`Self::check`] allows for the given claim time: at most the
    /// deadline they had.
    #[must_use]
    pub fn claimed_after(self, claim: Duration) -> Self {
        let deadline = self.deadline.min(claim.saturating_sub(CLAIM_MARGIN));
        Self { claim, deadline, ..self }
    }
}

/// What it understands.
pub enum Msg {
    /// Something came back from a task: look.
    Turn,
    /// Look for what nobody announced.
    Poll,
    /// Dead letters were asked to be delivered again.
    Redrive,
    /// Where it stands.
    Status(RpcReplyPort<Status>),
}

/// Where a consumer stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Stored: everything up to here is handled.
    pub cursor: Position,
    /// Everything up to here came.
    pub seen: Position,
    /// Entries that came and are not handled.
    pub open: usize,
    /// Deliveries under way.
    pub running: usize,
    /// Sessions with something to deliver, those under way included.
    pub sessions: usize,
}

impl Actor for Consumer {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Arguments) -> Result<State, ActorProcessingErr> {
        args.consumers.attach(args.fence.shard, args.log, &args.group, myself.clone());
        myself.cast(Msg::Poll)?;
        Ok(State::new(args))
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Turn => state.turn(&myself)?,
            Msg::Poll => state.poll(&myself),
            Msg::Redrive => state.look_for_letters(&myself),
            Msg::Status(reply) => {
                let _asker_gone = reply.send(state.status());
            }
        }
        Ok(())
    }

    async fn post_stop(&self, myself: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.drain(&myself).await;
        Ok(())
    }
}

type Key = (Shard, Log, String);

/// The way to the consumers of this node, for whoever redrives.
#[derive(Clone, Default)]
pub struct Consumers {
    actors: Arc<Mutex<HashMap<Key, ActorRef<Msg>>>>,
}

impl Consumers {
    /// Tells every group that dead letters are to be delivered again.
    pub fn redrive(&self) {
        let mut actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that ended attach themselves again when they start.
        actors.retain(|_, actor| actor.cast(Msg::Redrive).is_ok());
    }

    fn attach(&self, shard: Shard, log: Log, group: &str, actor: ActorRef<Msg>) {
        let mut actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        actors.insert((shard, log, group.to_owned()), actor);
    }
}
