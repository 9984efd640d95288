//! The way to the relays, for whoever commits: what they lend the ledger, and what it tells them.
//!
//! Promises: nothing here waits; many wake-ups are one; what is told last of a log is what its last commit said. What
//! has no relay here is noted for the node that has it: many such notes are one as well.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ractor::ActorRef;
use tokio::sync::Notify;

use super::Msg;
use super::recent::Recent;
use crate::domain::event::{Entry, Log};
use crate::domain::ids::{Fence, Position, Shard};
use crate::domain::write::Write;

/// The way to the relays, for whoever commits.
#[derive(Clone)]
pub struct Relays {
    slots: Arc<[Slot]>,
    /// Told when a shard without a relay here has something to number.
    away: Arc<Notify>,
}

#[derive(Default)]
struct Slot {
    actor: arc_swap::ArcSwapOption<ActorRef<Msg>>,
    /// The right to number and how many rows at once, lent to the ledger.
    stamp: arc_swap::ArcSwapOption<(Fence, usize)>,
    /// How far the last commit has numbered the logs; `None` before the first.
    heads: arc_swap::ArcSwapOption<[Position; 2]>,
    /// What the last commits added to each log.
    recent: [Mutex<Recent>; 2],
    /// Whether a commit left rows without a position.
    unnumbered: AtomicBool,
    /// Whether a wake-up is on its way: a second one would say the same.
    woken: AtomicBool,
    /// Whether another node is to be told.
    hint: AtomicBool,
}

impl Relays {
    /// A way to the relays of this many shards.
    #[must_use]
    pub fn new(shards: u16) -> Self {
        Self { slots: (0..shards).map(|_| Slot::default()).collect(), away: Arc::default() }
    }

    /// What numbers the rows of a shard in the transaction that adds them, if its relay is here.
    #[must_use]
    pub fn stamp(&self, shard: Shard) -> Option<Write> {
        let lent = self.slot(shard)?.stamp.load_full()?;
        Some(Write::Stamp(lent.0, lent.1))
    }

    /// Notes how far a commit has numbered the logs of a shard and what it added; called in the order of commits.
    pub fn numbered(&self, shard: Shard, heads: [Position; 2], added: &[Vec<Entry>; 2]) {
        if let Some(slot) = self.slot(shard) {
            for (log, added) in Log::ALL.into_iter().zip(added) {
                slot.recent(log).add(added);
            }
            slot.heads.store(Some(Arc::new(heads)));
        }
    }

    /// Tells the relay of a shard that a commit has numbered all it added. Never waits; many calls are one wake-up.
    pub fn publish(&self, shard: Shard) {
        if let Some(slot) = self.slot(shard)
            && !slot.poke()
        {
            self.note(slot);
        }
    }

    /// Tells the relay of a shard that rows without a position were committed.
    pub fn wake(&self, shard: Shard) {
        let Some(slot) = self.slot(shard) else { return };
        slot.unnumbered.store(true, Ordering::Release);
        if !slot.poke() {
            self.note(slot);
        }
    }

    /// Another node told that rows without a position were committed. What is not ours is told to nobody else.
    pub fn heard(&self, shard: Shard) {
        let Some(slot) = self.slot(shard) else { return };
        slot.unnumbered.store(true, Ordering::Release);
        slot.poke();
    }

    /// Waits until shards without a relay here have something to number; each is given once.
    pub async fn away(&self) -> Vec<Shard> {
        loop {
            let noted = |slot: &Slot| slot.hint.swap(false, Ordering::AcqRel);
            let shards = (0..u16::MAX).map(Shard).zip(self.slots.iter());
            let shards: Vec<Shard> = shards.filter(|(_, slot)| noted(slot)).map(|(shard, _)| shard).collect();
            if !shards.is_empty() {
                return shards;
            }
            self.away.notified().await;
        }
    }

    fn note(&self, slot: &Slot) {
        if !slot.hint.swap(true, Ordering::AcqRel) {
            self.away.notify_one();
        }
    }

    fn slot(&self, shard: Shard) -> Option<&Slot> {
        self.slots.get(usize::from(shard.0))
    }

    pub(super) fn attach(&self, fence: Fence, most: usize, actor: ActorRef<Msg>) {
        if let Some(slot) = self.slot(fence.shard) {
            slot.actor.store(Some(Arc::new(actor)));
            slot.stamp.store(Some(Arc::new((fence, most))));
            slot.heads.store(None);
            Log::ALL.into_iter().for_each(|log| slot.recent(log).clear());
            slot.woken.store(false, Ordering::Release);
        }
    }

    /// A wake-up has arrived; commits from now on need a new one. Whether rows wait for a position.
    pub(super) fn woken(&self, shard: Shard) -> bool {
        let Some(slot) = self.slot(shard) else { return true };
        slot.woken.store(false, Ordering::Release);
        slot.unnumbered.swap(false, Ordering::AcqRel)
    }

    pub(super) fn heads(&self, shard: Shard) -> Option<[Position; 2]> {
        self.slot(shard)?.heads.load_full().map(|heads| *heads)
    }

    /// Entries above a position that are still at hand; none when they have to be read.
    pub(super) fn recent(&self, shard: Shard, log: Log, after: Position, limit: usize) -> Vec<Entry> {
        self.slot(shard).map_or_else(Vec::new, |slot| slot.recent(log).after(after, limit))
    }
}

impl Slot {
    fn recent(&self, log: Log) -> MutexGuard<'_, Recent> {
        let [events, commands] = &self.recent;
        let recent = match log {
            Log::DomainEvents => events,
            Log::SessionCommands => commands,
        };
        recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a relay here; it is woken.
    fn poke(&self) -> bool {
        if self.woken.swap(true, Ordering::AcqRel) {
            return true;
        }
        let actor = self.actor.load();
        let here = actor.as_ref().is_some_and(|actor| actor.cast(Msg::Wake).is_ok());
        if !here {
            // Nobody here: the next relay of this shard looks for itself when it starts.
            self.woken.store(false, Ordering::Release);
        }
        here
    }
}
