//! What the last commits added, kept for the relay: it is carried as it was written, without being read again.
//!
//! Promises: holds only what is committed, without gaps, and little of it; what it lacks is in the table.

use std::collections::VecDeque;

use crate::domain::event::Entry;
use crate::domain::ids::Position;

/// The most entries kept of a log.
const ENTRIES: usize = 4096;

/// The most bytes of data kept of a log.
const BYTES: usize = 4 << 20;

/// The newest entries of one log.
#[derive(Default)]
pub(super) struct Recent {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Recent {
    /// Adds what a commit numbered.
    pub(super) fn add(&mut self, added: &[Entry]) {
        for entry in added {
            let follows = self.entries.back().is_none_or(|last| entry.position == last.position.plus(1));
            if !follows {
                self.clear();
            }
            self.bytes += weight(entry);
            self.entries.push_back(entry.clone());
        }
        while self.entries.len() > ENTRIES || self.bytes > BYTES {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= weight(&oldest);
        }
    }

    /// Up to `limit` entries above a position; none when the first of them is not here.
    pub(super) fn after(&self, position: Position, limit: usize) -> Vec<Entry> {
        let Some(first) = self.entries.front() else { return Vec::new() };
        let skip = usize::try_from(position.0 + 1 - first.position.0);
        skip.map_or_else(
            |_older| Vec::new(),
            |skip| self.entries.iter().skip(skip).take(limit).cloned().collect(),
        )
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn weight(entry: &Entry) -> usize {
    entry.event.data.as_str().len()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::actors::testing::event;
    use crate::domain::ids::SessionId;

    fn entry(position: i64) -> Entry {
        let mut event = event(SessionId::new(), position);
        event.position = Position(position);
        Entry { position: event.position, event: Arc::new(event) }
    }

    fn positions(entries: &[Entry]) -> Vec<i64> {
        entries.iter().map(|entry| entry.position.0).collect()
    }

    #[test]
    fn what_is_given_has_no_gap_before_or_within() {
        let mut recent = Recent::default();
        recent.add(&[entry(5), entry(6), entry(7)]);
        assert_eq!(positions(&recent.after(Position(4), 2)), [5, 6]);
        assert_eq!(positions(&recent.after(Position(6), 9)), [7]);
        assert!(recent.after(Position(3), 9).is_empty(), "4 is not here");
        assert!(recent.after(Position(7), 9).is_empty(), "8 is not yet");
        recent.add(&[entry(9)]);
        assert!(recent.after(Position(4), 9).is_empty(), "8 is missing: all before it is forgotten");
        assert_eq!(positions(&recent.after(Position(8), 9)), [9]);
        recent.add(&[entry(3)]);
        assert_eq!(positions(&recent.after(Position(2), 9)), [3], "other tables count anew");
    }

    #[test]
    fn little_is_kept() {
        let mut recent = Recent::default();
        let many = i64::try_from(2 * ENTRIES).unwrap();
        recent.add(&(1..=many).map(entry).collect::<Vec<_>>());
        assert_eq!(recent.entries.len(), ENTRIES);
        assert_eq!(recent.bytes, recent.entries.iter().map(weight).sum::<usize>());
        assert!(recent.after(Position(0), 1).is_empty());
        assert_eq!(positions(&recent.after(Position(many - 1), 9)), [many]);
    }
}
