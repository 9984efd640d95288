//! Takes and renews leases; starts a Shard when one is won, drains it when it is another node's turn, ends it when its
//! lease is lost.
//!
//! Promises: a shard runs only while its lease is held, by this node's own clock with a margin, and no slow store, start
//! or stop of another shard delays that. A lease is given back only after its shard has ended. A shard that ended by
//! itself is won anew, under a new epoch, before it runs again. Shares are evened out a few shards at a time.

mod held;
mod share;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::Instant;

use self::held::{Held, Phase};
use self::share::{Me, plan};
use self::watch::Watch;
use super::archive::Queries;
use super::directory::Directory;
use super::ledger::Ledgers;
use super::supervisor::{self, Child};
use super::task::{self, ChildTask, Panicked};
use crate::domain::cluster::{Cluster, NodeView};
use crate::domain::error::{Error, Result};
use crate::domain::ids::{Epoch, Fence, Shard};
use crate::domain::time::{Timestamp, now};
use crate::domain::write::{Outcome, TakeLease, Write};

/// How long a lease lasts unless renewed.
pub const TTL: Duration = Duration::from_secs(15);

/// How long a shard may take to start.
const START_WITHIN: Duration = Duration::from_secs(30);

/// Shards that start, and shards that drain for another node, at the same time.
const AT_ONCE: usize = 4;

/// The clockwork of leases.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long a lease lasts unless renewed; how long a node may be silent before it is gone.
    pub ttl: Duration,
    /// How often it is renewed.
    pub renew: Duration,
    /// Without a renewal for this long, by our own clock, we no longer trust it: less than `ttl`, so that we have stopped
    /// before another node may start.
    pub trust: Duration,
    /// How often to look what other nodes do.
    pub look: Duration,
    /// How often trust is checked.
    pub tick: Duration,
    /// How long a shard may take to finish what it does before it is given away.
    pub drain: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            ttl: TTL,
            renew: seconds(5),
            trust: seconds(10),
            look: seconds(2),
            tick: Duration::from_millis(500),
            drain: seconds(10),
        }
    }
}

/// Makes the subtree of a shard; what it starts stands in the slot.
pub type MakeShard = Box<dyn Fn(Fence, Above) -> Child + Send + Sync>;

/// A supervisor, as it is now.
pub type Above = Arc<arc_swap::ArcSwapOption<ActorRef<supervisor::Msg>>>;

/// The behaviour.
pub struct Leases;

/// What it needs.
pub struct Arguments {
    /// The way to write.
    pub ledgers: Ledgers,
    /// The way to read.
    pub queries: Queries,
    /// Who this process is. The same name again may take over its own leases at once.
    pub node: NodeView,
    /// How many shards there are.
    pub shards: u16,
    /// Makes the subtree of a shard.
    pub make: MakeShard,
    /// The supervisor under which shards run.
    pub above: Above,
    /// Where the shards owned here, and the owners of the others, are entered.
    pub directory: Directory,
    /// The clockwork.
    pub pace: Pace,
}

impl Arguments {
    fn take(&self, shard: Shard, held: Option<Epoch>, at: Timestamp) -> Write {
        let (node, address) = (self.node.node.clone(), self.node.address.clone());
        Write::TakeLease(TakeLease { shard, node, address, held, at, ttl: self.pace.ttl })
    }
}

/// What it understands.
pub enum Msg {
    /// Check what is held; renew and look around when it is time.
    Tick,
    /// What it tells itself.
    Note(Note),
}

/// What it tells itself; of no use to others.
pub struct Note(Inner);

enum Inner {
    /// The node has said that it is there, or could not.
    Beaten(Result<Result<Outcome>, Panicked>),
    /// How the cluster is.
    Looked(Result<Result<Cluster>, Panicked>),
    /// A lease was asked for.
    Asked(Asked, Result<Result<Option<Epoch>>, Panicked>),
    /// A shard has started, or not.
    Begun(Fence, Result<Result<ActorRef<supervisor::Msg>>, Panicked>),
    /// A shard has ended by itself.
    Died(Fence),
    /// A shard was ended.
    Ended(Fence),
    /// A lease was given back, or will expire.
    GivenBack(Shard),
}

/// A lease that was asked for.
#[derive(Clone, Copy)]
struct Asked {
    shard: Shard,
    /// The epoch that it was to be kept in; to win it when there is none.
    held: Option<Epoch>,
    at: Instant,
}

/// What it holds.
pub struct State {
    args: Arguments,
    held: BTreeMap<Shard, Held>,
    /// Leases being asked for.
    asking: BTreeMap<Shard, ChildTask>,
    watch: Watch,
    looking: Option<ChildTask>,
    looked: Option<Instant>,
    beating: Option<ChildTask>,
    beaten: Option<Instant>,
    /// Whether the last look failed: said once.
    blind: bool,
    timer: Option<ChildTask>,
}

impl Actor for Leases {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Arguments) -> Result<State, ActorProcessingErr> {
        myself.cast(Msg::Tick)?;
        Ok(State {
            args,
            held: BTreeMap::new(),
            asking: BTreeMap::new(),
            watch: Watch::default(),
            looking: None,
            looked: None,
            beating: None,
            beaten: None,
            blind: false,
            timer: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Tick => {
                state.tick(&myself);
                let at = Instant::now() + state.args.pace.tick;
                state.timer = Some(task::send_at(&myself, at, || Msg::Tick));
            }
            Msg::Note(Note(inner)) => state.take_in(&myself, inner),
        }
        Ok(())
    }

    /// Everything owned here ends first, and is given back only then.
    async fn post_stop(&self, _myself: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        let held = std::mem::take(&mut state.held);
        let asked: Vec<_> = std::mem::take(&mut state.asking).into_keys().collect();
        let args = &state.args;
        join_all(asked.into_iter().filter(|shard| !held.contains_key(shard)).map(async |shard| {
            // It may be won after we have gone. Asked once more, behind that, it is ours to give back.
            let again = args.take(shard, None, Timestamp::default());
            if let Ok(Outcome::Lease(Some(epoch))) = args.ledgers.write(again).await {
                give_back(&args.ledgers, Fence { shard, epoch }).await;
            }
        }))
        .await;
        join_all(held.into_iter().map(async |(shard, held)| {
            let fence = held.fence(shard);
            args.directory.leave_shard(shard);
            end(above(&args.above).ok(), held.root(), shard, args.pace.drain).await;
            give_back(&args.ledgers, fence).await;
        }))
        .await;
        if let Err(error) = args.ledgers.write(Write::Leave(args.node.node.clone())).await {
            tracing::debug!(%error, "the node leaves without a word");
        }
        Ok(())
    }
}

impl State {
    fn tick(&mut self, myself: &ActorRef<Msg>) {
        let due = |last: Option<Instant>, every| last.is_none_or(|last| last.elapsed() >= every);
        let trust = self.args.pace.trust;
        let lost: Vec<_> = self.held.iter().filter(|(_, held)| held.is_overdue(trust)).collect();
        let lost: Vec<_> = lost.into_iter().map(|(shard, _)| *shard).collect();
        lost.into_iter().for_each(|shard| self.lose(myself, shard, "not renewed in time"));
        if due(self.beaten, self.args.pace.renew) && self.beating.is_none() {
            self.beat(myself);
        }
        for shard in self.held.keys().copied().collect::<Vec<_>>() {
            let Some(held) = self.held.get(&shard) else { continue };
            if held.is_renewed() && due(Some(held.asked), self.args.pace.renew) {
                self.ask(myself, shard, Some(held.epoch), now());
            }
        }
        if due(self.looked, self.args.pace.look) && self.looking.is_none() {
            self.look(myself);
        }
    }

    fn take_in(&mut self, myself: &ActorRef<Msg>, inner: Inner) {
        match inner {
            Inner::Beaten(outcome) => {
                self.beating = None;
                if let Err(error) = flat(outcome) {
                    tracing::debug!(%error, "a beat was not heard");
                }
            }
            Inner::Looked(outcome) => self.saw(myself, flat(outcome)),
            Inner::Asked(asked, outcome) => self.answered(myself, asked, flat(outcome)),
            Inner::Begun(fence, outcome) => self.begun(myself, fence, flat(outcome)),
            Inner::Died(fence) => {
                if self.held.get(&fence.shard).is_some_and(|held| held.is(fence.epoch, Phase::Running)) {
                    tracing::warn!(shard = %fence.shard, "a shard ended by itself and is won anew");
                    self.args.directory.leave_shard(fence.shard);
                    self.held.remove(&fence.shard);
                }
            }
            Inner::Ended(fence) => self.ended(myself, fence),
            Inner::GivenBack(shard) => {
                self.held.remove(&shard);
            }
        }
    }

    fn beat(&mut self, myself: &ActorRef<Msg>) {
        let ledgers = self.args.ledgers.clone();
        let node = NodeView { seen_at: now(), ..self.args.node.clone() };
        let work = async move { ledgers.write_patiently(Write::Beat(node)).await };
        self.beating = Some(task::spawn_child(myself, work, |outcome| note(Inner::Beaten(outcome))));
        self.beaten = Some(Instant::now());
    }

    fn look(&mut self, myself: &ActorRef<Msg>) {
        let queries = self.args.queries.clone();
        let work = async move { queries.cluster().await };
        self.looking = Some(task::spawn_child(myself, work, |outcome| note(Inner::Looked(outcome))));
        self.looked = Some(Instant::now());
    }

    fn saw(&mut self, myself: &ActorRef<Msg>, cluster: Result<Cluster>) {
        self.looking = None;
        let cluster = match cluster {
            Ok(cluster) => cluster,
            Err(error) => {
                if !std::mem::replace(&mut self.blind, true) {
                    tracing::warn!(%error, "the leases cannot be read; trying on");
                }
                return;
            }
        };
        self.blind = false;
        self.args.directory.know_owners(&cluster.leases);
        self.watch.see(cluster, Instant::now());
        self.even_out(myself);
    }

    /// Takes what is missing, gives away what is too much.
    fn even_out(&mut self, myself: &ActorRef<Msg>) {
        let (held, leaving): (Vec<_>, Vec<_>) = self.held.iter().partition(|(_, held)| held.is_kept());
        let draining = leaving.len();
        let set = |shards: Vec<(&Shard, &Held)>| shards.into_iter().map(|(shard, _)| *shard).collect();
        let (held, leaving): (BTreeSet<_>, BTreeSet<_>) = (set(held), set(leaving));
        let (node, owns) = (self.args.node.node.as_str(), self.args.node.roles.owns());
        let me = Me { node, owns, held: &held, leaving: &leaving };
        let plan = plan(&self.watch, &me, self.args.shards, self.args.pace.ttl);
        for shard in plan.give.into_iter().take(AT_ONCE.saturating_sub(draining)) {
            tracing::info!(shard = %shard, "a shard is drained for another node");
            self.end(myself, shard, Phase::Draining, self.args.pace.drain);
        }
        let starting =
            self.held.values().filter(|held| held.phase == Phase::Starting).count() + self.asking.len();
        for (shard, at) in plan.take.into_iter().take(AT_ONCE.saturating_sub(starting)) {
            self.ask(myself, shard, None, at);
        }
    }

    /// Asks for a lease, unless that is under way.
    fn ask(&mut self, myself: &ActorRef<Msg>, shard: Shard, held: Option<Epoch>, at: Timestamp) {
        if self.asking.contains_key(&shard) {
            return;
        }
        let take = self.args.take(shard, held, at);
        let ledgers = self.args.ledgers.clone();
        let asked = Asked { shard, held, at: Instant::now() };
        if let Some(held) = self.held.get_mut(&shard) {
            held.asked = asked.at;
        }
        let work = async move { lease(ledgers.write_patiently(take).await?) };
        let done = move |outcome| note(Inner::Asked(asked, outcome));
        self.asking.insert(shard, task::spawn_child(myself, work, done));
    }

    fn answered(&mut self, myself: &ActorRef<Msg>, asked: Asked, outcome: Result<Option<Epoch>>) {
        let Asked { shard, held: kept, at } = asked;
        self.asking.remove(&shard);
        match (outcome, self.held.get_mut(&shard)) {
            (Ok(Some(epoch)), Some(held)) if held.epoch == epoch => held.renewed = at,
            (Ok(Some(epoch)), None) if kept.is_none() => self.begin(myself, Fence { shard, epoch }, at),
            // Kept before it was given back, or won in another epoch while an older one still ends.
            (Ok(Some(_)), _) | (Ok(None), None) => (),
            (Ok(None), Some(held)) if held.is_renewed() => self.lose(myself, shard, "taken by another node"),
            (Ok(None), Some(_)) => (),
            (Err(error), Some(_)) => tracing::warn!(shard = %shard, %error, "a lease could not be renewed"),
            (Err(error), None) => tracing::debug!(shard = %shard, %error, "a lease could not be taken"),
        }
    }

    fn begin(&mut self, myself: &ActorRef<Msg>, fence: Fence, won: Instant) {
        let slot = Above::default();
        let child = (self.args.make)(fence, slot.clone());
        let above = self.args.above.clone();
        let work = async move {
            let above = self::above(&above)?;
            // An earlier Leases may have left one behind.
            end(Some(above.clone()), None, fence.shard, START_WITHIN).await;
            let started = supervisor::start(&above, child, START_WITHIN).await;
            started.map_err(|error| Error::unavailable("shard_not_started", error.to_string()))?;
            self::above(&slot)
        };
        let task = task::spawn_child(myself, work, move |outcome| note(Inner::Begun(fence, outcome)));
        self.held.insert(fence.shard, Held::starting(fence.epoch, won, task));
    }

    fn begun(&mut self, myself: &ActorRef<Msg>, fence: Fence, outcome: Result<ActorRef<supervisor::Msg>>) {
        let Some(held) = self.held.get_mut(&fence.shard).filter(|held| held.is(fence.epoch, Phase::Starting))
        else {
            return;
        };
        match outcome {
            Ok(root) => {
                let watched = root.clone();
                let died = async move { watched.wait(None).await };
                let task = task::spawn_child(myself, died, move |_ended| note(Inner::Died(fence)));
                held.run(root, task);
            }
            Err(error) => {
                tracing::warn!(shard = %fence.shard, %error, "a shard did not start; its lease is given back");
                self.end(myself, fence.shard, Phase::Draining, self.args.pace.drain);
            }
        }
    }

    /// The right is gone or doubtful: what runs must have ended before another node may start.
    fn lose(&mut self, myself: &ActorRef<Msg>, shard: Shard, why: &str) {
        tracing::error!(shard = %shard, why, "a lease is lost: its shard stops");
        let margin = self.args.pace.ttl.saturating_sub(self.args.pace.trust);
        // Nothing can be written any more, so there is little to wait for; a kill may need a moment as well.
        self.end(myself, shard, Phase::Lost, margin / 5);
    }

    fn end(&mut self, myself: &ActorRef<Msg>, shard: Shard, phase: Phase, within: Duration) {
        let Some(held) = self.held.get_mut(&shard) else { return };
        self.args.directory.leave_shard(shard);
        let (fence, root) = (held.fence(shard), held.root());
        let above = above(&self.args.above).ok();
        let work = async move { end(above, root, shard, within).await };
        let task = task::spawn_child(myself, work, move |_ended| note(Inner::Ended(fence)));
        held.go(phase, task);
    }

    fn ended(&mut self, myself: &ActorRef<Msg>, fence: Fence) {
        let Some(held) = self.held.get_mut(&fence.shard) else { return };
        if held.phase == Phase::Lost {
            self.held.remove(&fence.shard);
            return;
        }
        let ledgers = self.args.ledgers.clone();
        let work = async move { give_back(&ledgers, fence).await };
        let task = task::spawn_child(myself, work, move |_given| note(Inner::GivenBack(fence.shard)));
        held.go(Phase::Returning, task);
    }
}

fn note(inner: Inner) -> Msg {
    Msg::Note(Note(inner))
}

fn flat<T>(outcome: Result<Result<T>, Panicked>) -> Result<T> {
    outcome.unwrap_or_else(|panicked| Err(Error::bug(panicked)))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "any other answer is a mistake of ours, and told")]
fn lease(outcome: Outcome) -> Result<Option<Epoch>> {
    match outcome {
        Outcome::Lease(epoch) => Ok(epoch),
        other => Err(Error::bug(format!("a lease was answered with {other:?}"))),
    }
}

fn above(slot: &Above) -> Result<ActorRef<supervisor::Msg>> {
    let above = slot.load_full().map(|above| (*above).clone());
    above.ok_or_else(|| Error::unavailable("no_shards", "shards are restarting"))
}

/// Ends a shard's subtree, in order for that long, then by force.
async fn end(
    above: Option<ActorRef<supervisor::Msg>>,
    root: Option<ActorRef<supervisor::Msg>>,
    shard: Shard,
    within: Duration,
) {
    if let Some(root) = root
        && !supervisor::shutdown(&root, within).await
    {
        root.kill();
    }
    if let Some(above) = above {
        supervisor::stop(&above, key_of(shard), within).await;
    }
}

async fn give_back(ledgers: &Ledgers, fence: Fence) {
    if let Err(error) = ledgers.write(Write::ReleaseLease(fence)).await {
        tracing::debug!(shard = %fence.shard, %error, "a lease was left to expire");
    }
}

/// The name of a shard's subtree among its siblings.
#[must_use]
pub fn key_of(shard: Shard) -> String {
    format!("shard {shard}")
}
