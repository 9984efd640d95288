//! The queues of a consumer, one per session.
//!
//! Promises: of one session at most one delivery runs, and in order; sessions take turns; a session that waits for its
//! next try, or has a long queue, holds up no other: beyond its share only the positions of its entries are kept.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

use crate::actors::handler::Delivery;
use crate::domain::event::Entry;
use crate::domain::ids::{DeadLetterId, Position, Subject};

/// One entry that waits.
pub(super) struct Item {
    pub(super) entry: Entry,
    /// Set when it is a dead letter that is delivered again.
    pub(super) letter: Option<DeadLetterId>,
    /// How often it has failed.
    pub(super) failed: u32,
    /// When it may be tried again.
    pub(super) not_before: Option<Instant>,
}

/// What a session's turn is.
pub(super) enum Next {
    Deliver(Delivery),
    /// Nothing for this session until then.
    Wait(Subject, Instant),
    /// Entries of this session above this position have to be read again.
    Reload(Subject, Position),
}

#[derive(Default)]
struct Lane {
    queue: VecDeque<Item>,
    spilled: VecDeque<Position>,
    /// Whether it runs, waits, is read again or is being buried: somebody will say when it goes on.
    busy: bool,
}

pub(super) struct Lanes {
    lanes: HashMap<Subject, Lane>,
    ready: VecDeque<Subject>,
    /// Entries held.
    held: usize,
    /// The most entries of one delivery.
    run: usize,
    /// The most entries held for one session.
    share: usize,
}

impl Lanes {
    pub(super) fn new(run: usize, share: usize) -> Self {
        let (run, share) = (run.max(1), share.max(1));
        Self { lanes: HashMap::new(), ready: VecDeque::new(), held: 0, run, share }
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn sessions(&self) -> usize {
        self.lanes.len()
    }

    pub(super) fn push(&mut self, item: Item) {
        let session = item.entry.event.subject();
        let lane = self.lanes.entry(session).or_default();
        let idle = !lane.busy && lane.queue.is_empty() && lane.spilled.is_empty();
        // A dead letter has no place in the log to be read again from.
        let over = lane.queue.len() >= self.share || !lane.spilled.is_empty();
        if over && item.letter.is_none() {
            lane.spilled.push_back(item.entry.position);
        } else {
            lane.queue.push_back(item);
            self.held += 1;
        }
        if idle {
            self.ready.push_back(session);
        }
    }

    /// The next session's turn. What is delivered stays queued until it is settled.
    pub(super) fn next(&mut self, now: Instant) -> Option<Next> {
        let session = self.ready.pop_front()?;
        let lane = self.lanes.get_mut(&session)?;
        lane.busy = true;
        let Some(head) = lane.queue.front() else {
            let first = lane.spilled.front()?;
            return Some(Next::Reload(session, Position(first.0 - 1)));
        };
        if let Some(until) = head.not_before.filter(|until| *until > now) {
            return Some(Next::Wait(session, until));
        }
        // Who failed is tried alone, so that the failure is its own.
        let failed = head.failed;
        let count = if failed > 0 { 1 } else { self.run };
        let run = lane.queue.iter().take(count).enumerate();
        let run = run.take_while(|(n, item)| *n == 0 || item.failed == 0);
        let entries = run.map(|(_, item)| item.entry.clone()).collect();
        Some(Next::Deliver(Delivery::new(session, entries, failed)))
    }

    /// Takes the first `count` entries out: they are handled or buried.
    pub(super) fn settle(&mut self, session: Subject, count: usize) -> Vec<Item> {
        let Some(lane) = self.lanes.get_mut(&session) else { return Vec::new() };
        let count = count.min(lane.queue.len());
        self.held -= count;
        lane.queue.drain(..count).collect()
    }

    /// The first entry of a session.
    pub(super) fn head(&mut self, session: Subject) -> Option<&mut Item> {
        self.lanes.get_mut(&session)?.queue.front_mut()
    }

    /// What this session was busy with is over.
    pub(super) fn release(&mut self, session: Subject) {
        let Some(lane) = self.lanes.get_mut(&session) else { return };
        lane.busy = false;
        if lane.queue.is_empty() && lane.spilled.is_empty() {
            self.lanes.remove(&session);
        } else {
            self.ready.push_back(session);
        }
    }

    /// Takes in what was read again: of `items`, those that were spilled. `upto` is where the reading ended: what
    /// should have come and did not is gone from the table, and is answered.
    pub(super) fn reloaded(&mut self, session: Subject, items: Vec<Item>, upto: Position) -> Vec<Position> {
        let mut lost = Vec::new();
        let Some(lane) = self.lanes.get_mut(&session) else { return lost };
        for item in items {
            while let Some(first) = lane.spilled.pop_front_if(|first| *first < item.entry.position) {
                lost.push(first);
            }
            if lane.spilled.pop_front_if(|first| *first == item.entry.position).is_some() {
                lane.queue.push_back(item);
                self.held += 1;
            }
        }
        while let Some(first) = lane.spilled.pop_front_if(|first| *first <= upto) {
            lost.push(first);
        }
        self.release(session);
        lost
    }
}
