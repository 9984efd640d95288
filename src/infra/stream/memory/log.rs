//! One log in memory: entries, and what each group has been given and has acknowledged.
//!
//! Promises: positions are gapless from `base` to the tail; what a group has not acknowledged stays.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Limits;
use crate::domain::error::{Error, Result};
use crate::domain::event::Entry;
use crate::domain::ids::{Epoch, Position};
use crate::infra::stream::Appended;

/// What an event weighs beside its data: envelope, ids, nodes.
const OVERHEAD: usize = 256;

pub(super) struct Log {
    limits: Limits,
    /// The position before the first entry held.
    base: Position,
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Whether anything was ever appended; from then on the beginning is fixed.
    touched: bool,
    /// The latest owner that was here.
    epoch: Epoch,
    groups: HashMap<String, Group>,
}

struct Group {
    /// The last position handed out.
    given: Position,
    pending: BTreeMap<Position, Pending>,
}

struct Pending {
    owner: Arc<str>,
    since: Instant,
}

impl Group {
    /// Everything up to here is acknowledged.
    fn floor(&self) -> Position {
        self.pending.first_key_value().map_or(self.given, |(first, _)| Position(first.0 - 1))
    }
}

impl Log {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            base: Position::default(),
            entries: VecDeque::new(),
            bytes: 0,
            touched: false,
            epoch: Epoch::default(),
            groups: HashMap::new(),
        }
    }

    pub(super) fn tail(&self) -> Position {
        self.base.plus(self.entries.len())
    }

    /// `None`: an owner of a later epoch has been here.
    pub(super) fn lead(&mut self, epoch: Epoch) -> Option<Position> {
        if epoch < self.epoch {
            return None;
        }
        self.epoch = epoch;
        Some(self.tail())
    }

    pub(super) fn begin(&mut self, at: Position) {
        if !self.touched {
            self.base = at;
            self.touched = true;
        }
    }

    pub(super) fn append(&mut self, epoch: Epoch, expected: Position, entries: &[Entry]) -> Result<Appended> {
        let Some(tail) = self.lead(epoch) else { return Ok(Appended::Superseded) };
        if expected != tail {
            return Ok(Appended::Tail(tail));
        }
        let gapless = entries.iter().enumerate().all(|(n, entry)| entry.position == tail.plus(n + 1));
        if !gapless {
            return Err(Error::bug("entries to append are not gapless"));
        }
        let weight: usize = entries.iter().map(weight).sum();
        let over = self.entries.len() + entries.len() > self.limits.entries
            || self.bytes + weight > self.limits.bytes;
        // An empty log takes any batch, or one large event would stop it for ever.
        if over && !self.entries.is_empty() {
            return Ok(Appended::Full);
        }
        self.entries.extend(entries.iter().cloned());
        self.bytes += weight;
        self.touched |= !entries.is_empty();
        Ok(Appended::All)
    }

    pub(super) fn create_group(&mut self, name: &str, at: Position) {
        let fresh = || Group { given: at, pending: BTreeMap::new() };
        self.groups.entry(name.to_owned()).or_insert_with(fresh);
    }

    pub(super) fn remove_group(&mut self, name: &str) {
        self.groups.remove(name);
    }

    pub(super) fn read_group(&mut self, name: &str, consumer: &str, count: usize) -> Result<Vec<Entry>> {
        let (base, tail) = (self.base, self.tail());
        let group = self.groups.get_mut(name).ok_or_else(no_group)?;
        // A group that was created below what is left goes on with what is left; its consumer sees the gap.
        let from = group.given.max(base);
        if from >= tail {
            return Ok(Vec::new());
        }
        let entries: Vec<Entry> = self.entries.iter().skip(offset(base, from)).take(count).cloned().collect();
        let owner: Arc<str> = consumer.into();
        let since = Instant::now();
        for entry in &entries {
            group.pending.insert(entry.position, Pending { owner: Arc::clone(&owner), since });
            group.given = entry.position;
        }
        Ok(entries)
    }

    pub(super) fn claim(
        &mut self,
        name: &str,
        consumer: &str,
        idle: Duration,
        count: usize,
    ) -> Result<Vec<Entry>> {
        let group = self.groups.get_mut(name).ok_or_else(no_group)?;
        let owner: Arc<str> = consumer.into();
        let now = Instant::now();
        let others = |held: &Pending| *held.owner != *owner || !idle.is_zero();
        let idle_enough = |held: &Pending| others(held) && now.duration_since(held.since) >= idle;
        let mut claimed = Vec::new();
        for (position, held) in group.pending.iter_mut().filter(|(_, held)| idle_enough(held)).take(count) {
            *held = Pending { owner: Arc::clone(&owner), since: now };
            // What is pending is never trimmed, so it is there.
            claimed.extend(self.entries.get(offset(self.base, *position) - 1).cloned());
        }
        Ok(claimed)
    }

    pub(super) fn ack(&mut self, name: &str, positions: &[Position]) -> Result<()> {
        let group = self.groups.get_mut(name).ok_or_else(no_group)?;
        for position in positions {
            group.pending.remove(position);
        }
        Ok(())
    }

    /// `None`: entries above `after` are gone already.
    pub(super) fn read_from(&self, after: Position, count: usize) -> Option<Vec<Entry>> {
        if after < self.base {
            return None;
        }
        Some(self.entries.iter().skip(offset(self.base, after)).take(count).cloned().collect())
    }

    pub(super) fn trim(&mut self, upto: Position) -> usize {
        let held = self.groups.values().map(Group::floor).min().unwrap_or(upto);
        let upto = upto.min(held).min(self.tail());
        let gone = offset(self.base, upto);
        for entry in self.entries.drain(..gone) {
            self.bytes -= weight(&entry);
        }
        self.base = self.base.max(upto);
        gone
    }
}

fn no_group() -> Error {
    Error::not_found("no_group", "the stream does not know this group")
}

/// How far `at` is above `base`; zero when it is not.
fn offset(base: Position, at: Position) -> usize {
    usize::try_from(at.0.saturating_sub(base.0)).unwrap_or_default()
}

fn weight(entry: &Entry) -> usize {
    OVERHEAD + entry.event.data.as_str().len()
}
