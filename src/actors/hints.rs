//! Wake-ups from node to node: what was committed here for a shard of another node wakes its relay there at once.
//!
//! Promises: nobody waits for this actor, and nothing depends on it: a hint that is lost costs its relay one poll. While
//! the way to the others is broken it is tried again and again, said once.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::{Instant, sleep};

use super::relay::Relays;
use super::supervisor::{Child, Restart, leaf};
use super::task::{ChildTask, Panicked, send_at, spawn_child};
use crate::domain::error::{Error, Result};
use crate::domain::ids::Shard;
use crate::domain::retry::Schedule;
use crate::infra::stream::hints::Hints as Port;

/// How long to wait after a panic of ours.
const PANICKED: Duration = Duration::from_secs(5);

/// The behaviour.
pub struct Hints;

/// What it needs.
#[derive(Clone)]
pub struct Arguments {
    /// The way to the other nodes.
    pub hints: Arc<dyn Port>,
    /// What is to be told, and who is to be woken.
    pub relays: Relays,
    /// How many shards there are.
    pub shards: u16,
}

/// This actor as a child of the node.
#[must_use]
pub fn child(args: Arguments) -> Child {
    leaf("hints", "hints", Restart::Permanent, move || (Hints, args.clone()))
}

/// What it understands; of no use to others.
pub enum Msg {
    /// One side ended, which only a panic makes it do.
    Ended(Side, String),
    /// That side starts again.
    Start(Side),
}

/// The two things it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Telling others.
    Tell,
    /// Hearing others.
    Hear,
}

/// What it holds.
pub struct State {
    args: Arguments,
    tell: Option<ChildTask>,
    hear: Option<ChildTask>,
}

impl Actor for Hints {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Arguments) -> Result<State, ActorProcessingErr> {
        myself.cast(Msg::Start(Side::Tell))?;
        myself.cast(Msg::Start(Side::Hear))?;
        Ok(State { args, tell: None, hear: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Start(side) => state.start(&myself, side),
            Msg::Ended(side, text) => {
                tracing::error!(?side, text, "hints between nodes stopped; starting again");
                let again = send_at(&myself, Instant::now() + PANICKED, move || Msg::Start(side));
                *state.of(side) = Some(again);
            }
        }
        Ok(())
    }
}

impl State {
    fn of(&mut self, side: Side) -> &mut Option<ChildTask> {
        match side {
            Side::Tell => &mut self.tell,
            Side::Hear => &mut self.hear,
        }
    }

    fn start(&mut self, myself: &ActorRef<Msg>, side: Side) {
        let (hints, relays) = (Arc::clone(&self.args.hints), self.args.relays.clone());
        let shards = self.args.shards;
        let work = async move {
            match side {
                Side::Tell => tell(&*hints, &relays).await,
                Side::Hear => hear(&*hints, &relays, shards).await,
            }
        };
        let ended = move |outcome: Result<Infallible, Panicked>| match outcome {
            Ok(never) => match never {},
            Err(Panicked(text)) => Msg::Ended(side, text),
        };
        *self.of(side) = Some(spawn_child(myself, work, ended));
    }
}

async fn tell(hints: &dyn Port, relays: &Relays) -> Infallible {
    let mut trouble = Trouble::default();
    loop {
        // What is committed while one hint travels is the next.
        let shards = relays.away().await;
        while let Err(error) = hints.tell(&shards).await {
            trouble.pause(&error).await;
        }
        trouble.over();
    }
}

async fn hear(hints: &dyn Port, relays: &Relays, shards: u16) -> Infallible {
    let mut trouble = Trouble::default();
    loop {
        let error = match hints.listen().await {
            Ok(mut heard) => {
                trouble.over();
                // What was told while nobody listened.
                (0..shards).map(Shard).for_each(|shard| relays.heard(shard));
                loop {
                    match heard.next().await {
                        Ok(shards) => shards.into_iter().for_each(|shard| relays.heard(shard)),
                        Err(error) => break error,
                    }
                }
            }
            Err(error) => error,
        };
        trouble.pause(&error).await;
    }
}

/// Failures in a row.
#[derive(Default)]
struct Trouble(u32);

impl Trouble {
    fn over(&mut self) {
        self.0 = 0;
    }

    async fn pause(&mut self, error: &Error) {
        if self.0 == 0 {
            tracing::warn!(%error, "nodes cannot wake each other's relays; they poll meanwhile");
        }
        let schedule = Schedule::exponential(Duration::from_millis(200), Duration::from_secs(10));
        let wait = schedule.delay(self.0).max(Duration::from_millis(100));
        self.0 = self.0.saturating_add(1);
        sleep(wait).await;
    }
}
