//! The way to the ledgers, for whoever writes.
//!
//! Promises: writes of one shard go to one ledger, in the order they were sent; what does not belong to a shard goes to
//! the first. Where several nodes share the tables, signs of life have a ledger of their own: a lease must not run out
//! because its renewal stands behind a long batch. A ledger takes a bounded number of waiting writes; beyond it a new one is refused at once.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::ledger::Msg;
use crate::domain::error::{Error, Kind, Result};
use crate::domain::write::{Outcome, Write};

/// How long a caller waits for its commit before it is told `Unavailable`.
const COMMIT_DEADLINE: Duration = Duration::from_secs(10);

/// The way to the ledgers; cheap to clone, and outlives restarts of the actors.
#[derive(Clone)]
pub struct Ledgers {
    slots: Arc<[Slot]>,
    depth: usize,
    /// The last one is for signs of life alone.
    life_apart: bool,
    committed: Arc<arc_swap::ArcSwapOption<Instant>>,
}

struct Slot {
    /// Replaced at a restart of the actor; readers never wait.
    actor: arc_swap::ArcSwapOption<ActorRef<Msg>>,
    permits: Arc<Semaphore>,
}

impl Ledgers {
    /// A way to one ledger that is yet to start; refuses beyond `depth` waiting writes.
    #[must_use]
    pub fn new(depth: usize) -> Self {
        Self::several(1, depth)
    }

    fn several(count: usize, depth: usize) -> Self {
        let slot =
            |_| Slot { actor: arc_swap::ArcSwapOption::empty(), permits: Arc::new(Semaphore::new(depth)) };
        let slots = (0..count.max(1)).map(slot).collect();
        Self { slots, depth, life_apart: false, committed: Arc::default() }
    }

    /// A way to this many ledgers for the shards, each of this depth, and one more for signs of life.
    #[must_use]
    pub fn with_life_apart(count: usize, depth: usize) -> Self {
        Self { life_apart: true, ..Self::several(count.max(1) + 1, depth) }
    }

    /// How many ledgers there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// Points at the only ledger, just started.
    pub fn attach(&self, actor: ActorRef<Msg>) {
        self.attach_at(0, actor);
    }

    /// Points at one of the ledgers, just started.
    pub fn attach_at(&self, place: usize, actor: ActorRef<Msg>) {
        if let Some(slot) = self.slots.get(place) {
            slot.actor.store(Some(Arc::new(actor)));
        }
    }

    /// When the last write was committed.
    #[must_use]
    pub fn last_commit(&self) -> Option<Instant> {
        self.committed.load_full().map(|at| *at)
    }

    pub(super) fn committed(&self) {
        self.committed.store(Some(Arc::new(Instant::now())));
    }

    /// How many writes wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.slots.iter().map(|slot| self.depth - slot.permits.available_permits()).sum()
    }

    /// Commits one change and answers after the commit.
    ///
    /// # Errors
    /// The write's own refusal; `Busy` when too many wait; `Unavailable` when the ledger does not answer.
    pub async fn write(&self, write: Write) -> Result<Outcome> {
        let slot = self.slot(&write)?;
        let permit = slot.permits.clone().try_acquire_owned();
        let permit =
            permit.map_err(|_full| Error::busy("ledger_busy", "too many writes wait; try again shortly"))?;
        slot.send(write, permit).await
    }

    /// Like [`Self::write`], but waits for room: for our own actors, whose pace the store should set.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub async fn write_patiently(&self, write: Write) -> Result<Outcome> {
        let slot = self.slot(&write)?;
        let room = tokio::time::timeout(COMMIT_DEADLINE, slot.permits.clone().acquire_owned()).await;
        let permit = room.map_err(|_late| Error::busy("ledger_busy", "too many writes wait"))?;
        let permit = permit.map_err(|_closed| Error::unavailable("ledger_gone", "the ledger is stopping"))?;
        slot.send(write, permit).await
    }

    /// Commits many changes one after the other, and between two leaves the store to others for as long as the last one
    /// took: for what is much and in no hurry.
    ///
    /// # Errors
    /// As for [`Self::write`]; those before the failed one are committed.
    pub async fn write_by_and_by(&self, writes: impl Iterator<Item = Write>) -> Result<()> {
        let mut rest = None;
        for write in writes {
            // Not before the first: a sleep of nothing still takes up to a millisecond, and most callers have one write.
            if let Some(rest) = rest {
                tokio::time::sleep(rest).await;
            }
            let started = Instant::now();
            self.write_patiently(write).await?;
            rest = Some(started.elapsed());
        }
        Ok(())
    }

    fn slot(&self, write: &Write) -> Result<&Slot> {
        let ours = self.slots.len() - usize::from(self.life_apart);
        let place = if self.life_apart && is_of_life(write) {
            ours
        } else {
            write.shard().map_or(0, |shard| usize::from(shard.0)) % ours
        };
        self.slots.get(place).ok_or_else(|| Error::bug("there is no ledger"))
    }
}

/// Whether others take this node for dead without it. None of these waits for a shard's writes: what was written before
/// a lease was given back is committed or refused by its epoch, whichever comes first.
fn is_of_life(write: &Write) -> bool {
    matches!(write, Write::TakeLease(_) | Write::ReleaseLease(_) | Write::Beat(_) | Write::Leave(_))
}

impl Slot {
    async fn send(&self, write: Write, permit: OwnedSemaphorePermit) -> Result<Outcome> {
        let gone = || Error::new(Kind::Unavailable, "ledger_gone", "the ledger is restarting");
        let actor = self.actor.load_full().ok_or_else(gone)?;
        let (sender, receiver) = ractor::concurrency::oneshot();
        let message = Msg::Write(Box::new(write), sender.into(), permit);
        actor.cast(message).map_err(|_stopped| gone())?;
        match tokio::time::timeout(COMMIT_DEADLINE, receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_dropped)) => Err(gone()),
            Err(_late) => Err(Error::unavailable(
                "commit_late",
                "the store did not commit in time; the outcome is unknown",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ractor::{Actor, ActorProcessingErr};

    use super::*;
    use crate::domain::ids::{Epoch, Fence, SessionId, Shard};

    const COMMIT: Duration = Duration::from_millis(100);

    /// A ledger whose every commit takes that long; notes when each began.
    struct Slow(Arc<Mutex<Vec<Instant>>>);

    impl Actor for Slow {
        type Msg = Msg;
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _myself: ActorRef<Msg>, _none: ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }

        async fn handle(&self, _: ActorRef<Msg>, msg: Msg, _: &mut ()) -> Result<(), ActorProcessingErr> {
            if let Msg::Write(_, reply, _permit) = msg {
                self.0.lock().unwrap().push(Instant::now());
                tokio::time::sleep(COMMIT).await;
                reply.send(Ok(Outcome::Done))?;
            }
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_much_leaves_the_store_to_others_half_of_the_time() {
        let (began, ledgers) = (Arc::new(Mutex::new(Vec::new())), Ledgers::new(16));
        let (actor, task) = Actor::spawn(None, Slow(began.clone()), ()).await.unwrap();
        ledgers.attach(actor.clone());
        let started = Instant::now();
        let fence = Fence { shard: Shard(0), epoch: Epoch(1) };
        let writes = (0..3).map(|_| Write::ReleaseLease(fence));
        ledgers.write_by_and_by(writes).await.unwrap();
        let began: Vec<_> = began.lock().unwrap().iter().map(|at| (*at - started).as_millis()).collect();
        assert_eq!(began, [0, 200, 400]);
        actor.stop(None);
        task.await.unwrap();
    }

    #[test]
    fn a_sign_of_life_never_stands_behind_a_shards_writes() {
        let place = |ledgers: &Ledgers, write: Write| {
            let slot: *const Slot = ledgers.slot(&write).unwrap();
            ledgers.slots.iter().position(|one| std::ptr::eq(one, slot)).unwrap()
        };
        let fence = |shard| Fence { shard: Shard(shard), epoch: Epoch(1) };
        let (release, work) = (
            |shard| Write::ReleaseLease(fence(shard)),
            |shard| Write::Requeue(fence(shard), SessionId::new()),
        );
        let apart = Ledgers::with_life_apart(2, 16);
        assert_eq!(apart.count(), 3);
        for shard in 0..16 {
            assert_eq!(place(&apart, work(shard)), usize::from(shard % 2));
            assert_eq!(place(&apart, release(shard)), 2);
        }
        let one = Ledgers::new(16);
        assert_eq!((place(&one, work(3)), place(&one, release(3))), (0, 0));
    }
}
