//! What may go, and what has to wait until when.

use std::time::Duration;

use super::history::{DAY, day};
use super::{History, Reason, Refusal, Rules, Wait};
use crate::domain::time::Timestamp;

/// The time that a rate counts over, in milliseconds.
const MINUTE: i64 = 60 * 1000;

/// The part of a full allowance that a fresh account begins with.
const FIRST_DAY: i64 = 10;

/// How often a cool-down is doubled at most: from an hour to a day, roughly.
const LONGEST: u32 = 24;

/// After a cool-down, this part of it lies between two messages that begin chats, until it is forgotten.
const PROBES: u32 = 60;

impl Rules {
    /// Whether anything has to be counted.
    #[must_use]
    pub fn limits(&self) -> bool {
        self.per_minute.is_some() || self.per_day.is_some() || self.new_chats_per_day.is_some()
    }

    /// Whether something rests after such a refusal. 429 would stop known chats too: that only where sends are limited.
    #[must_use]
    pub fn rests_after(&self, refusal: Refusal) -> bool {
        let asked_for = match refusal {
            Refusal::NewChats => true,
            Refusal::Sends => self.per_minute.is_some() || self.per_day.is_some(),
        };
        asked_for && !self.cool_down.is_zero()
    }

    /// What every message has to wait for; `None`: one may go now.
    #[must_use]
    pub fn before_any(&self, history: &History, now: Timestamp) -> Option<Wait> {
        let (sent, _) = history.today(now);
        let cooling = self.cooling(history, Refusal::Sends, now);
        let day = self.quota((self.per_day, sent, Reason::Rate), history, now);
        latest([cooling, self.minute(history, now), day])
    }

    /// What a message that begins a chat has to wait for besides.
    #[must_use]
    pub fn before_new_chat(&self, history: &History, now: Timestamp) -> Option<Wait> {
        let (_, begun) = history.today(now);
        let cooling = self.cooling(history, Refusal::NewChats, now);
        let day = self.quota((self.new_chats_per_day, begun, Reason::NewChats), history, now);
        latest([cooling, self.probing(history, now), day])
    }

    /// What a message has to wait for.
    #[must_use]
    pub fn before(&self, history: &History, begins_chat: bool, now: Timestamp) -> Option<Wait> {
        let chat = begins_chat.then(|| self.before_new_chat(history, now)).flatten();
        latest([self.before_any(history, now), chat, None])
    }

    /// Of a full allowance, what an account may use today.
    #[must_use]
    pub fn allowance(&self, full: u32, history: &History, now: Timestamp) -> u32 {
        let Some((age, days)) = self.warming(history, now) else { return full };
        let (age, days, all) = (i64::from(age), i64::from(days), i64::from(full));
        let first = (all / FIRST_DAY).max(1);
        u32::try_from(first + (all - first) * age / days).unwrap_or(full).min(full)
    }

    /// How many days an account has been linked, of how many, while it warms up.
    #[must_use]
    pub fn warming(&self, history: &History, now: Timestamp) -> Option<(u32, u32)> {
        let age = day(now).saturating_sub(day(history.linked_at?)).max(0);
        let age = u32::try_from(age).unwrap_or(u32::MAX);
        (age < self.warm_up_days).then_some((age, self.warm_up_days))
    }

    /// How long the cool-down after the `count`th refusal in a row lasts. Sending too fast is over sooner.
    #[must_use]
    pub fn cool_down(&self, refusal: Refusal, count: i64) -> Duration {
        let first = match refusal {
            Refusal::NewChats => self.cool_down,
            Refusal::Sends => (self.cool_down / PROBES).max(Duration::from_secs(1)),
        };
        let doublings = u32::try_from(count.saturating_sub(1)).unwrap_or(0).min(LONGEST);
        first.saturating_mul(1_u32 << doublings).min(first.saturating_mul(LONGEST))
    }

    /// The time between two messages, and how many may come at once: the most that keeps every minute within its limit.
    pub(super) fn spread(&self) -> Option<(i64, i64)> {
        let most = i64::from(self.per_minute?.max(1));
        let burst = (most / 10).max(1);
        let steps = most - burst + 1;
        Some(((MINUTE + steps - 1) / steps, burst))
    }

    fn minute(&self, history: &History, now: Timestamp) -> Option<Wait> {
        let (interval, burst) = self.spread()?;
        // What is further ahead than a full minute was written by a clock that was.
        let rate_at = history.rate_at.0.min(now.0.saturating_add(MINUTE).saturating_add(interval));
        wait(Reason::Rate, Timestamp(rate_at - (burst - 1) * interval), now)
    }

    fn quota(
        &self,
        (full, used, reason): (Option<u32>, i64, Reason),
        history: &History,
        now: Timestamp,
    ) -> Option<Wait> {
        let full = full?;
        let allowed = self.allowance(full, history, now);
        if used < i64::from(allowed) {
            return None;
        }
        let code = if allowed < full { Reason::WarmUp } else { reason };
        Some(Wait { code, not_before: self.next_day(history, now) })
    }

    /// When the counts begin anew.
    pub(super) fn next_day(&self, history: &History, now: Timestamp) -> Timestamp {
        Timestamp((day(now).max(history.day) + 1).saturating_mul(DAY))
    }

    pub(super) fn cooling(&self, history: &History, refusal: Refusal, now: Timestamp) -> Option<Wait> {
        if !self.rests_after(refusal) {
            return None;
        }
        wait(Reason::CoolDown, history.refusals(refusal).until, now)
    }

    /// After a cool-down chats are begun one by one: if WhatsApp still refuses, it refuses one and not all that waited.
    fn probing(&self, history: &History, now: Timestamp) -> Option<Wait> {
        let refusals = history.chats;
        if now >= refusals.forgotten(self, Refusal::NewChats) || history.new_chat_at < refusals.until {
            return None;
        }
        let between = self.cool_down(Refusal::NewChats, refusals.count) / PROBES;
        wait(Reason::CoolDown, history.new_chat_at.after(between), now)
    }
}

fn wait(code: Reason, not_before: Timestamp, now: Timestamp) -> Option<Wait> {
    (not_before > now).then_some(Wait { code, not_before })
}

fn latest(waits: [Option<Wait>; 3]) -> Option<Wait> {
    waits
        .into_iter()
        .flatten()
        .reduce(|one, other| if other.not_before > one.not_before { other } else { one })
}
