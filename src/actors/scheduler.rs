//! Upkeep by the clock: overdue messages fail, old idempotency keys go, the tables' own upkeep is done.
//!
//! Promises: one small step at a time, so that upkeep never holds up a write.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::Instant;

use super::archive::Queries;
use super::directory::Directory;
use super::ledger::Ledgers;
use super::task::{self, ChildTask};
use crate::domain::error::{Error, Result};
use crate::domain::ids::Shard;
use crate::domain::time::now;
use crate::domain::write::{Outcome, Sweep, Write};

/// How often overdue work is looked for.
const EVERY: Duration = Duration::from_secs(5);

/// How often the tables' own upkeep is looked after.
const UPKEEP: Duration = Duration::from_secs(15 * 60);

/// Rows of one step.
const STEP: usize = 256;

/// The behaviour.
pub struct Scheduler;

/// What it needs.
pub struct Arguments {
    /// The way to write.
    pub ledgers: Ledgers,
    /// The way to the tables' own upkeep.
    pub queries: Queries,
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
    /// When the tables' own upkeep is next.
    upkeep: Instant,
}

impl Actor for Scheduler {
    type Msg = Step;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Step>, args: Arguments) -> Result<State, ActorProcessingErr> {
        let mut state = State { args, timer: None, upkeep: Instant::now() + UPKEEP };
        state.later(&myself, EVERY);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Step>,
        _step: Step,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let waits = |error| {
            tracing::warn!(%error, "upkeep waits");
            false
        };
        let more = state.sweep().await.unwrap_or_else(waits);
        if Instant::now() >= state.upkeep {
            let more = state.keep_up().await.unwrap_or_else(waits);
            state.upkeep = Instant::now() + if more { EVERY } else { UPKEEP };
        }
        state.later(&myself, if more { Duration::from_millis(50) } else { EVERY });
        Ok(())
    }
}

impl State {
    fn later(&mut self, myself: &ActorRef<Step>, delay: Duration) {
        self.timer = Some(task::send_at(myself, Instant::now() + delay, || Step));
    }

    /// One step of the tables' own upkeep, on the node that owns the first shard; true when more may wait.
    async fn keep_up(&self) -> Result<bool> {
        if !self.args.directory.fences().iter().any(|fence| fence.shard == Shard::default()) {
            return Ok(false);
        }
        let at = now();
        let done = self.args.queries.ask(move |store| async move { store.upkeep(at).await }).await?;
        Ok(done > 0)
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
