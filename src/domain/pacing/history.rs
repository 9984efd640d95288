//! What a session has sent and what was refused: all that the rules need to know, as one row of a table.

use super::{Refusal, Rules};
use crate::domain::time::Timestamp;

/// A day in milliseconds.
pub(super) const DAY: i64 = 24 * 60 * 60 * 1000;

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// When the account was linked; unknown accounts count as old.
    pub linked_at: Option<Timestamp>,
    /// The day (UTC, since 1970) that the counts below are of.
    pub day: i64,
    /// Messages sent on it.
    pub sent: i64,
    /// Chats begun on it.
    pub new_chats: i64,
    /// When the next message would be due if all were evenly spread.
    pub rate_at: Timestamp,
    /// When a chat was last begun.
    pub new_chat_at: Timestamp,
    /// Refusals to begin chats.
    pub chats: Refusals,
    /// Refusals to send at all.
    pub sends: Refusals,
}

/// Refusals of one kind, in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// How many cool-downs followed each other without a time of peace between them.
    pub count: i64,
    /// When the last one ends or ended.
    pub until: Timestamp,
}

/// The day of a moment.
pub(super) fn day(at: Timestamp) -> i64 {
    at.0.div_euclid(DAY)
}

impl History {
    /// Counts a message that goes now.
    pub fn note_sent(&mut self, rules: &Rules, begins_chat: bool, now: Timestamp) {
        // A node whose clock is behind goes on with the day it finds.
        if self.day < day(now) {
            (self.day, self.sent, self.new_chats) = (day(now), 0, 0);
        }
        self.sent += 1;
        if begins_chat {
            self.new_chats += 1;
            self.new_chat_at = now;
        }
        if let Some((interval, _)) = rules.spread() {
            self.rate_at = Timestamp(self.rate_at.0.max(now.0).saturating_add(interval));
        }
    }

    /// Notes a refusal. One that comes while its cool-down lasts was on its way already and makes it no longer.
    pub fn note_refused(&mut self, rules: &Rules, refusal: Refusal, now: Timestamp) {
        if !rules.rests_after(refusal) {
            return;
        }
        let refusals = self.refusals(refusal);
        if now < refusals.until {
            return;
        }
        let count = if now < refusals.forgotten(rules, refusal) { refusals.count + 1 } else { 1 };
        let until = now.after(rules.cool_down(refusal, count));
        *self.refusals_mut(refusal) = Refusals { count, until };
    }

    /// From then on no past refusal means anything; in the past when there is none.
    #[must_use]
    pub fn forgets_at(&self, rules: &Rules) -> Timestamp {
        let of = |refusal| self.refusals(refusal).forgotten(rules, refusal);
        of(Refusal::NewChats).max(of(Refusal::Sends))
    }

    pub(super) fn refusals(&self, refusal: Refusal) -> Refusals {
        match refusal {
            Refusal::NewChats => self.chats,
            Refusal::Sends => self.sends,
        }
    }

    fn refusals_mut(&mut self, refusal: Refusal) -> &mut Refusals {
        match refusal {
            Refusal::NewChats => &mut self.chats,
            Refusal::Sends => &mut self.sends,
        }
    }

    /// Messages and chats of the day of `now`.
    pub(super) fn today(&self, now: Timestamp) -> (i64, i64) {
        if self.day < day(now) { (0, 0) } else { (self.sent, self.new_chats) }
    }
}

impl Refusals {
    /// After the cool-down comes a time as long, in which one more refusal doubles the next.
    pub(super) fn forgotten(self, rules: &Rules, refusal: Refusal) -> Timestamp {
        if self.count == 0 || !rules.rests_after(refusal) {
            return Timestamp::default();
        }
        self.until.after(rules.cool_down(refusal, self.count))
    }
}
