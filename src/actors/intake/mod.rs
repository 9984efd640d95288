//! The intake: commands that programs outside append to the stream `session-commands` become commands like ours.
//!
//! Promises: an order is acknowledged only after its commit, or after it was shown among the refused with its reason; one
//! that comes twice is one command; what cannot be stored now is stored later, in order within its session, and holds up
//! no other session; of orders that wait, no more are held than fixed here.

mod order;
mod round;

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::Instant;

use self::round::Round;
use super::ledger::Ledgers;
use super::supervisor::{Child, Restart, leaf};
use super::task::{ChildTask, Panicked, send_at, spawn_child};
use crate::domain::error::{Error, Result};
use crate::domain::retry::Schedule;
use crate::infra::stream::intake::Intake as Port;

pub use self::order::Terms;

/// The behaviour.
pub struct Intake;

/// What it needs.
#[derive(Clone)]
pub struct Arguments {
    /// Where orders come from.
    pub intake: Arc<dyn Port>,
    /// Accepts them.
    pub ledgers: Ledgers,
    /// What they get from our settings.
    pub terms: Terms,
    /// How long another process may hold an order unanswered.
    pub claim: Duration,
}

/// This actor as a child of the node.
#[must_use]
pub fn child(args: Arguments) -> Child {
    leaf("intake", "intake", Restart::Permanent, move || (Intake, args.clone()))
}

/// What it understands; of no use to others.
pub enum Msg {
    /// Fetch and accept.
    Turn,
    /// A round ended.
    Ended(Box<Result<(Round, Result<()>), Panicked>>),
}

/// What it holds.
pub struct State {
    args: Arguments,
    /// What a round left for the next; none while one runs.
    round: Option<Round>,
    task: Option<ChildTask>,
    troubles: u32,
}

impl Actor for Intake {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Arguments) -> Result<State, ActorProcessingErr> {
        myself.cast(Msg::Turn)?;
        Ok(State { args, round: None, task: None, troubles: 0 })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Turn => state.turn(&myself),
            Msg::Ended(ended) => match *ended {
                Ok((round, Ok(()))) => {
                    state.troubles = 0;
                    state.round = Some(round);
                    state.turn(&myself);
                }
                // What was held is read again: nothing of it was acknowledged.
                Ok((_round, Err(error))) => state.trouble(&myself, &error),
                Err(panicked) => state.trouble(&myself, &Error::bug(panicked)),
            },
        }
        Ok(())
    }
}

impl State {
    fn turn(&mut self, myself: &ActorRef<Msg>) {
        let mut round = self.round.take().unwrap_or_else(|| Round::new(self.args.clone()));
        let work = async move {
            let outcome = round.run().await;
            (round, outcome)
        };
        self.task = Some(spawn_child(myself, work, |ended| Msg::Ended(Box::new(ended))));
    }

    fn trouble(&mut self, myself: &ActorRef<Msg>, error: &Error) {
        if self.troubles == 0 {
            tracing::warn!(%error, "commands of programs outside have to wait; trying on");
        }
        let schedule = Schedule::exponential(Duration::from_millis(200), Duration::from_secs(5));
        let wait = schedule.delay(self.troubles).max(Duration::from_millis(50));
        self.troubles = self.troubles.saturating_add(1);
        self.task = Some(send_at(myself, Instant::now() + wait, || Msg::Turn));
    }
}
