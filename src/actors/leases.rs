//! Takes and renews leases; starts a Shard when one is won, ends it when it is lost.
//!
//! Promises: a shard runs only while its lease is held, by this node's own clock with a margin; a shard that ended by
//! itself is won anew, under a new epoch, before it runs again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::Instant;

use super::directory::Directory;
use super::ledger::Ledgers;
use super::supervisor::{self, Child};
use super::task::{self, ChildTask};
use crate::domain::error::{Error, Result};
use crate::domain::ids::{Epoch, Fence, Shard};
use crate::domain::time::now;
use crate::domain::write::{Outcome, TakeLease, Write};

/// How long a lease lasts unless renewed.
pub const TTL: Duration = Duration::from_secs(15);

/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(5);

/// Without a renewal for this long, by our own clock, we no longer trust it: less than [`TTL`], so that we have
/// stopped before another node may start.
const TRUST: Duration = Duration::from_secs(10);

/// How long a shard may take to start or stop.
const SHARD_WITHIN: Duration = Duration::from_secs(30);

/// Makes the subtree of a shard.
pub type MakeShard = Box<dyn Fn(Fence) -> Child + Send + Sync>;

/// The supervisor under which shards run, as it is now.
pub type Above = Arc<arc_swap::ArcSwapOption<ActorRef<supervisor::Msg>>>;

/// The behaviour.
pub struct Leases;

/// What it needs.
pub struct Arguments {
    /// The way to write.
    pub ledgers: Ledgers,
    /// Unique per process; the same again may take over its own lease at once.
    pub node: String,
    /// Where this node answers others.
    pub address: String,
    /// How many shards there are.
    pub shards: u16,
    /// Makes the subtree of a shard.
    pub make: MakeShard,
    /// The supervisor under which shards run.
    pub above: Above,
    /// Where the shards owned here are entered.
    pub directory: Directory,
}

/// What it understands.
pub enum Msg {
    /// Renew what is held, take what is free.
    Turn,
}

struct Held {
    epoch: Epoch,
    renewed: Instant,
}

/// What it holds.
pub struct State {
    args: Arguments,
    held: HashMap<Shard, Held>,
    timer: Option<ChildTask>,
}

impl Actor for Leases {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Arguments) -> Result<State, ActorProcessingErr> {
        myself.cast(Msg::Turn)?;
        Ok(State { args, held: HashMap::new(), timer: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let Msg::Turn = msg;
        let mut settled = true;
        for shard in (0..state.args.shards).map(Shard) {
            if let Err(error) = state.turn(shard).await {
                tracing::warn!(shard = %shard, %error, "a lease could not be settled");
                settled = false;
            }
        }
        let next = if settled { RENEW } else { Duration::from_secs(1) };
        state.timer = Some(task::send_at(&myself, Instant::now() + next, || Msg::Turn));
        Ok(())
    }

    async fn post_stop(&self, _myself: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        for (shard, held) in std::mem::take(&mut state.held) {
            let fence = Fence { shard, epoch: held.epoch };
            if let Err(error) = state.args.ledgers.write(Write::ReleaseLease(fence)).await {
                tracing::debug!(shard = %shard, %error, "a lease was left to expire");
            }
        }
        Ok(())
    }
}

impl State {
    /// One shard: renew or take its lease, and make what runs agree with it.
    async fn turn(&mut self, shard: Shard) -> Result<()> {
        let running = self.is_running(shard).await;
        if self.held.contains_key(&shard) && !running {
            tracing::warn!(shard = %shard, "a shard ended by itself and is won anew");
            self.held.remove(&shard);
        }
        let asked = Instant::now();
        let held = self.held.get(&shard).map(|held| held.epoch);
        match self.take(shard, held).await {
            Ok(Some(epoch)) => {
                self.held.insert(shard, Held { epoch, renewed: asked });
                if !running || held != Some(epoch) {
                    self.begin(Fence { shard, epoch }).await?;
                }
                Ok(())
            }
            Ok(None) => self.end(shard, "lost").await,
            Err(error) => {
                let trusted = self.held.get(&shard).is_some_and(|held| held.renewed.elapsed() < TRUST);
                if !trusted {
                    self.end(shard, "not renewed in time").await?;
                }
                Err(error)
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "any other answer is a mistake of ours, and told")]
    async fn take(&self, shard: Shard, held: Option<Epoch>) -> Result<Option<Epoch>> {
        let (node, address) = (self.args.node.clone(), self.args.address.clone());
        let take = TakeLease { shard, node, address, held, at: now(), ttl: TTL };
        match self.args.ledgers.write_patiently(Write::TakeLease(take)).await? {
            Outcome::Lease(epoch) => Ok(epoch),
            other => Err(Error::bug(format!("a lease was answered with {other:?}"))),
        }
    }

    async fn is_running(&self, shard: Shard) -> bool {
        let Ok(above) = self.above() else { return false };
        let children = supervisor::tree(&above, Duration::from_secs(2)).await.unwrap_or_default();
        children.iter().any(|child| child.key == key_of(shard))
    }

    fn above(&self) -> Result<ActorRef<supervisor::Msg>> {
        let above = self.args.above.load_full();
        above
            .map(|above| (*above).clone())
            .ok_or_else(|| Error::unavailable("no_shards", "shards are restarting"))
    }

    async fn begin(&self, fence: Fence) -> Result<()> {
        let above = self.above()?;
        supervisor::stop(&above, &key_of(fence.shard), SHARD_WITHIN).await;
        let started = supervisor::start(&above, (self.args.make)(fence), SHARD_WITHIN).await;
        started.map_err(|error| Error::unavailable("shard_not_started", error.to_string()))
    }

    async fn end(&mut self, shard: Shard, why: &str) -> Result<()> {
        if self.held.remove(&shard).is_some() {
            tracing::error!(shard = %shard, why, "a lease is lost: its shard stops");
        }
        self.args.directory.leave_shard(shard);
        supervisor::stop(&self.above()?, &key_of(shard), SHARD_WITHIN).await;
        Ok(())
    }
}

/// The name of a shard's subtree among its siblings.
#[must_use]
pub fn key_of(shard: Shard) -> String {
    format!("shard {shard}")
}
