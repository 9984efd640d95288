//! How far a group is: the cursor, and what is handled beyond it.
//!
//! Promises: the cursor never passes an entry that is not handled; an entry is admitted once, whether the stream hands
//! it out again, claims it back, or the table fills a gap with it; one that came more often is acknowledged once more
//! when it is stored, since the first acknowledgement may have been before the stream handed it out.

use std::collections::BTreeSet;

use crate::domain::ids::{EventId, Position};
use crate::domain::view::GroupState;

/// What to do with an entry that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Deliver it.
    New,
    /// It is on its way already, or handled and about to be stored.
    Open,
    /// It is stored as handled: acknowledge it.
    Handled,
}

pub(super) struct Progress {
    /// Stored: everything up to here is handled.
    cursor: Position,
    /// Everything up to here came, so that a gap above it is one.
    seen: Position,
    /// Came and not handled.
    open: BTreeSet<Position>,
    /// Handled beyond the cursor, stored or not.
    handled: BTreeSet<Position>,
    /// Of these, stored.
    inbox: BTreeSet<Position>,
    /// Handled and not stored.
    unsaved: Vec<(Position, EventId)>,
    /// Came again before they were stored as handled.
    again: BTreeSet<Position>,
}

/// What is to be stored, and acknowledged afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Save {
    pub(super) cursor: Position,
    pub(super) handled: Vec<(Position, EventId)>,
}

impl Save {
    /// What has to go to the inbox.
    pub(super) fn above(&self) -> Vec<(Position, EventId)> {
        self.handled.iter().filter(|(position, _)| *position > self.cursor).copied().collect()
    }
}

impl Progress {
    pub(super) fn new(state: &GroupState) -> Self {
        let inbox: BTreeSet<_> = state.inbox.iter().copied().filter(|at| *at > state.cursor).collect();
        let mut progress = Self {
            cursor: state.cursor,
            seen: state.cursor,
            open: BTreeSet::new(),
            handled: inbox.clone(),
            inbox,
            unsaved: Vec::new(),
            again: BTreeSet::new(),
        };
        progress.skip(state.cursor);
        progress
    }

    pub(super) fn cursor(&self) -> Position {
        self.cursor
    }

    pub(super) fn seen(&self) -> Position {
        self.seen
    }

    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    pub(super) fn admit(&mut self, position: Position) -> Admission {
        self.skip(position);
        if position <= self.cursor || self.inbox.contains(&position) {
            return Admission::Handled;
        }
        // What is handled and not stored yet must not be acknowledged yet: a crash would lose it.
        let new = !self.handled.contains(&position) && self.open.insert(position);
        if new {
            return Admission::New;
        }
        self.again.insert(position);
        Admission::Open
    }

    /// Nothing up to here will come any more, nor what follows it and is handled.
    pub(super) fn skip(&mut self, upto: Position) {
        self.seen = self.seen.max(upto);
        while self.handled.contains(&self.seen.plus(1)) {
            self.seen = self.seen.plus(1);
        }
    }

    pub(super) fn settle(&mut self, position: Position, event: EventId) {
        if self.open.remove(&position) {
            self.handled.insert(position);
            self.unsaved.push((position, event));
        }
    }

    /// This entry is nowhere any more.
    pub(super) fn lose(&mut self, position: Position) {
        if self.open.remove(&position) {
            self.handled.insert(position);
        }
    }

    /// What is new since the last save.
    pub(super) fn save(&mut self) -> Option<Save> {
        let reached = self.open.first().map_or(self.seen, |first| Position(first.0 - 1));
        if self.unsaved.is_empty() && reached == self.cursor {
            return None;
        }
        Some(Save { cursor: reached, handled: std::mem::take(&mut self.unsaved) })
    }

    /// Those that came again in the meantime, to be acknowledged now.
    pub(super) fn saved(&mut self, save: &Save) -> Vec<Position> {
        self.cursor = self.cursor.max(save.cursor);
        self.inbox.extend(save.handled.iter().map(|(position, _)| *position));
        let above = self.cursor.plus(1);
        self.inbox = self.inbox.split_off(&above);
        self.handled = self.handled.split_off(&above);
        let stored = |at: &Position| *at <= self.cursor || self.inbox.contains(at);
        self.again.extract_if(.., stored).collect()
    }

    pub(super) fn not_saved(&mut self, save: Save) {
        self.unsaved.extend(save.handled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_waits_for_the_slowest_and_the_inbox_holds_the_rest() {
        let mut progress = Progress::new(&GroupState { cursor: Position(10), ..GroupState::default() });
        for position in 11..=14 {
            assert_eq!(progress.admit(Position(position)), Admission::New);
        }
        let ids: Vec<EventId> = (0..5).map(|_| EventId::new()).collect();
        progress.settle(Position(12), ids[2]);
        progress.settle(Position(14), ids[4]);
        let save = progress.save().unwrap();
        assert_eq!((save.cursor, save.above().len()), (Position(10), 2));
        progress.saved(&save);
        assert_eq!(progress.save(), None);
        progress.settle(Position(11), ids[1]);
        let save = progress.save().unwrap();
        assert_eq!((save.cursor, save.above()), (Position(12), vec![]));
        progress.not_saved(save);
        let save = progress.save().unwrap();
        progress.saved(&save);
        assert_eq!(progress.cursor(), Position(12));
        assert_eq!(progress.admit(Position(14)), Admission::Handled);
        assert_eq!(progress.admit(Position(13)), Admission::Open);
        assert_eq!(progress.admit(Position(9)), Admission::Handled);
    }

    #[test]
    fn what_comes_again_is_acknowledged_when_it_is_stored_and_not_before() {
        let mut progress = Progress::new(&GroupState::default());
        assert_eq!(progress.admit(Position(1)), Admission::New);
        progress.settle(Position(1), EventId::new());
        assert_eq!(progress.admit(Position(1)), Admission::Open);
        let save = progress.save().unwrap();
        assert_eq!(progress.admit(Position(1)), Admission::Open);
        assert_eq!(progress.admit(Position(2)), Admission::New);
        assert_eq!(progress.admit(Position(2)), Admission::Open);
        assert_eq!(progress.saved(&save), [Position(1)]);
        assert_eq!(progress.admit(Position(1)), Admission::Handled);
        progress.settle(Position(2), EventId::new());
        let save = progress.save().unwrap();
        assert_eq!(progress.saved(&save), [Position(2)]);
        assert_eq!(progress.saved(&save), []);
    }

    #[test]
    fn a_cursor_that_stopped_below_its_inbox_goes_on() {
        let inbox = vec![Position(2), Position(3), Position(5)];
        let mut progress = Progress::new(&GroupState { cursor: Position(1), inbox, waiting: vec![] });
        assert_eq!(progress.seen(), Position(3));
        assert_eq!(progress.save().unwrap().cursor, Position(3));
    }

    #[test]
    fn a_restart_takes_the_inbox_for_handled() {
        let inbox = vec![Position(3), Position(5)];
        let mut progress = Progress::new(&GroupState { cursor: Position(1), inbox, waiting: vec![] });
        let admitted: Vec<Admission> = (2..=5).map(|position| progress.admit(Position(position))).collect();
        assert_eq!(admitted, [Admission::New, Admission::Handled, Admission::New, Admission::Handled]);
        assert_eq!(progress.seen(), Position(5));
        progress.settle(Position(2), EventId::new());
        progress.settle(Position(4), EventId::new());
        assert_eq!(progress.save().unwrap().cursor, Position(5));
    }
}
