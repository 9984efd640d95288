//! Backups by the clock.
//!
//! Promises: one node of the cluster takes them, the owner of the first shard; a failed one is tried again long before the
//! next is due, and shows in the metrics; old ones go only after a new one is there. A backup missed because nothing
//! ran at its time is not made up for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::Instant;

use super::directory::Directory;
use super::task::{self, ChildTask, Panicked};
use crate::domain::cron::Cron;
use crate::domain::error::{Error, Result};
use crate::domain::ids::Shard;
use crate::domain::time::{Timestamp, now};
use crate::infra::store::backup::{Backups, Written, prune};
use crate::telemetry;

/// The clock may be set meanwhile: it is looked at this often.
const LOOK: Duration = Duration::from_secs(30);

/// Whose owner takes the backups.
const TAKER: Shard = Shard(0);

/// The behaviour.
pub struct Backup;

/// When, where to, and how many.
#[derive(Clone, Debug)]
pub struct Plan {
    /// When.
    pub cron: Cron,
    /// Where to.
    pub folder: PathBuf,
    /// How many are kept.
    pub keep: usize,
    /// When a failed one is tried again.
    pub again: Duration,
}

/// What it needs.
#[derive(Clone)]
pub struct Arguments {
    /// What is backed up.
    pub tables: Arc<dyn Backups>,
    /// Which shards are owned here.
    pub directory: Directory,
    /// When, where to, and how many.
    pub plan: Plan,
}

/// What it understands.
pub enum Msg {
    /// Time to look at the clock.
    Look,
    /// What it tells itself.
    Done(Note),
}

/// How a backup ended; of no use to others.
pub struct Note(Result<Result<Written>, Panicked>);

/// What it holds.
pub struct State {
    args: Arguments,
    due: Option<Timestamp>,
    timer: Option<ChildTask>,
    running: Option<ChildTask>,
}

impl Actor for Backup {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Arguments) -> Result<State, ActorProcessingErr> {
        let due = args.plan.cron.after(now());
        let mut state = State { args, due, timer: None, running: None };
        state.sleep(&myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Look => state.look(&myself),
            Msg::Done(Note(outcome)) => state.done(outcome),
        }
        state.sleep(&myself);
        Ok(())
    }
}

impl State {
    fn sleep(&mut self, myself: &ActorRef<Msg>) {
        let left = self.due.map_or(LOOK, |due| due.since(now())).min(LOOK);
        self.timer = Some(task::send_at(myself, Instant::now() + left, || Msg::Look));
    }

    fn look(&mut self, myself: &ActorRef<Msg>) {
        let at = now();
        if self.due.is_none_or(|due| at < due) {
            // A clock that was set back must not put the next backup off by as much.
            let next = self.args.plan.cron.after(at);
            self.due = [self.due, next].into_iter().flatten().min();
            return;
        }
        self.due = self.args.plan.cron.after(at);
        if self.running.is_some() || !self.is_taker() {
            return;
        }
        let Arguments { tables, plan, .. } = self.args.clone();
        let work = async move {
            let written = tables.backup(&plan.folder).await?;
            let (folder, keep) = (plan.folder, plan.keep);
            let pruned = tokio::task::spawn_blocking(move || prune(&folder, keep)).await;
            pruned.map_err(|panicked| Error::bug(format!("old backups: {panicked}")))??;
            Ok(written)
        };
        self.running = Some(task::spawn_child(myself, work, |outcome| Msg::Done(Note(outcome))));
    }

    fn is_taker(&self) -> bool {
        self.args.directory.fences().iter().any(|fence| fence.shard == TAKER)
    }

    fn done(&mut self, outcome: Result<Result<Written>, Panicked>) {
        self.running = None;
        match outcome.unwrap_or_else(|panicked| Err(Error::bug(panicked))) {
            Ok(written) => {
                telemetry::backup_done(now());
                let rows: u64 = written.contents.rows.values().sum();
                let (file, bytes) = (written.file.display(), written.bytes);
                tracing::info!(%file, bytes, rows, "a backup was taken");
            }
            Err(error) => {
                telemetry::backup_failed();
                tracing::error!(%error, "a backup failed; it is tried again soon");
                let again = now().after(self.args.plan.again);
                self.due = Some(self.due.map_or(again, |due| due.min(again)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
