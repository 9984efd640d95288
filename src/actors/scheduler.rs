//! Upkeep by the clock: overdue messages fail, old idempotency keys go.
//!
//! Promises: one small step at a time, so that upkeep never holds up a write.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::directory::Directory;
use super::ledger::Ledgers;
use super::task::{self, ChildTask};
use crate::domain::error::{Error, Result};
use crate::domain::time::now;
use crate::domain::write::{Outcome, Sweep, Write};

/// How often overdue work is looked for.
const EVERY: Duration = Duration::from_secs(5);

/// Rows of one step.
const STEP: usize = 256;

/// The behaviour.
pub struct Scheduler;

/// What it needs.
pub struct Arguments {
    /// The way to write.
    pub ledgers: Ledgers,
    /// Which shards are owned here.
    pub directory: Directory,
    /// How long an idempotency key is remembered.
    pub keys_for: Duration,
}

/// What it understands: it is time for a step.
pub struct Step;

/// What it holds.
pub struct State {
    args: Arguments,
    timer: Option<ChildTask>,
}

impl Actor for Scheduler {
    type Msg = Step;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Step>, args: Arguments) -> Result<State, ActorProcessingErr> {
        let mut state = State { args, timer: None };
        state.later(&myself, EVERY);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Step>,
        _step: Step,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let more = state.sweep().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "upkeep waits");
            false
        });
        state.later(&myself, if more { Duration::from_millis(50) } else { EVERY });
        Ok(())
    }
}

impl State {
    fn later(&mut self, myself: &ActorRef<Step>, delay: Duration) {
        self.timer = Some(task::send_at(myself, tokio::time::Instant::now() + delay, || Step));
    }

    /// One step per shard; true when more waits.
    #[expect(clippy::wildcard_enum_match_arm, reason = "any other answer is a mistake of ours, and told")]
    async fn sweep(&self) -> Result<bool> {
        let mut more = false;
        for fence in self.args.directory.fences() {
            let at = now();
            let sweep = Sweep { fence, at, keys_before: at.before(self.args.keys_for), limit: STEP };
            match self.args.ledgers.write_patiently(Write::Sweep(sweep)).await? {
                Outcome::Swept(rows) => more |= rows >= STEP,
                other => return Err(Error::bug(format!("a sweep was answered with {other:?}"))),
            }
        }
        Ok(more)
    }
}
