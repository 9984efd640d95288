//! Sending no faster than an account may: when to take, what is held, when to look again.
//!
//! Promises: without limits and without a recent refusal nothing is read or written that would not be anyway. Every
//! wait has a moment, and a timer for it; until then new work costs no look at the tables. What is known here is
//! learned from the tables again by the next incarnation.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::ActorRef;

use super::{Msg, State};
use crate::actors::task::{self, ChildTask};
use crate::domain::error::{Error, Result};
use crate::domain::pacing::{Refusal, Rules};
use crate::domain::retry::Schedule;
use crate::domain::time::{Timestamp, now};
use crate::domain::write::{InboundMessage, Outcome, Paced, Refused, Release, Take, TakePaced, Taken, Write};
use crate::telemetry;

/// The shortest time between two looks: what becomes due within it is taken together.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The most that a look is put off so that sessions which wait for the same moment do not all look at it.
const SPREAD: Duration = Duration::from_secs(60);

/// When to look again at what is held for no reason of its own.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The most chats remembered in which something was said while messages are held.
const HEARD_LIMIT: usize = 4096;

/// How this session is paced.
pub(super) struct Pacing {
    rules: Rules,
    /// Until when past refusals count.
    cooling: Timestamp,
    /// No message may go before.
    waits: Option<Timestamp>,
    /// Messages are held.
    holding: bool,
    /// When to look at them again.
    held_until: Option<Timestamp>,
    /// It is that time.
    release: bool,
    /// Chats in which something was said, not yet looked at.
    chats: BTreeSet<String>,
    pub(super) heard: Arc<Heard>,
    timer: Option<(Timestamp, ChildTask)>,
}

/// Chats in which something was said while messages are held: what waits to be said there may go.
#[derive(Default)]
pub(super) struct Heard {
    listening: AtomicBool,
    chats: Mutex<BTreeSet<String>>,
}

impl Heard {
    /// Messages came in, and are stored.
    pub(super) fn note(&self, messages: &[InboundMessage]) {
        if !self.listening.load(Ordering::SeqCst) {
            return;
        }
        let mut chats = self.chats.lock().unwrap_or_else(PoisonError::into_inner);
        for address in messages.iter().flat_map(|message| [&message.chat_pn, &message.chat_lid]).flatten() {
            if chats.len() < HEARD_LIMIT {
                chats.insert(address.to_string());
            }
        }
    }

    fn listen(&self, listening: bool) {
        self.listening.store(listening, Ordering::SeqCst);
        if !listening {
            self.chats.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    fn is_empty(&self) -> bool {
        self.chats.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn drain(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.chats.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Pacing {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            cooling: Timestamp::default(),
            waits: None,
            holding: false,
            held_until: None,
            release: false,
            chats: BTreeSet::new(),
            heard: Arc::default(),
            timer: None,
        }
    }

    /// Whether a take has to be paced.
    pub(super) fn applies(&self, now: Timestamp) -> bool {
        self.rules.limits() || self.holding || now < self.cooling
    }

    /// Whether no message may go now.
    pub(super) fn waits(&self, now: Timestamp) -> bool {
        self.waits.is_some_and(|until| now < until)
    }

    /// Whether something was said where messages are held.
    pub(super) fn has_heard(&self) -> bool {
        self.holding && (!self.chats.is_empty() || !self.heard.is_empty())
    }

    /// Everything that was held is queued again.
    pub(super) fn forget(&mut self) {
        *self = Self { cooling: self.cooling, heard: Arc::clone(&self.heard), ..Self::new(self.rules) };
        self.heard.listen(false);
    }

    /// What a take told.
    fn learn(&mut self, paced: &Paced, at: Timestamp) {
        let asked = std::mem::take(&mut self.release);
        self.chats.clear();
        self.waits = paced.waits.map(|wait| wait.not_before);
        self.holding |= paced.holds > 0;
        if let Some(wait) = paced.held {
            self.held_until = Some(wait.not_before);
        } else if asked {
            // All that were held are released when there were fewer than asked for.
            self.release = paced.released >= TakePaced::LOOK;
            self.holding = self.release || paced.holds > 0;
            self.held_until = None;
        }
        if self.holding && !self.release && self.held_until.is_none() {
            self.held_until = Some(at.after(LOOK_AGAIN));
        }
        if !self.holding {
            self.heard.listen(false);
        }
        for wait in [paced.waits, paced.held].into_iter().flatten() {
            telemetry::sends_paced(wait.code.as_str());
        }
    }

    /// Keeps a timer for the first moment at which there is something to look at.
    fn set_timer(&mut self, myself: &ActorRef<Msg>, at: Timestamp) {
        let held = self.held_until.filter(|_| self.holding);
        let Some(due) = [self.waits, held].into_iter().flatten().min() else {
            self.timer = None;
            return;
        };
        if self.timer.as_ref().is_some_and(|(set, _)| *set == due) {
            return;
        }
        let wait = due.since(at);
        let spread = (wait / 60).min(SPREAD);
        let wait = wait.max(LOOK_EVERY) + Schedule::exponential(spread, spread).delay(0);
        let timer = task::send_at(myself, tokio::time::Instant::now() + wait, || Msg::Paced);
        self.timer = Some((due, timer));
    }
}

impl State {
    /// What was refused before counts for this incarnation too.
    pub(super) async fn load_pacing(&mut self) -> Result<()> {
        let rules = self.setup.pacing;
        if rules.cool_down.is_zero() {
            return Ok(());
        }
        let tenant = self.row()?.tenant_id;
        let history = self.setup.store.pacing(tenant, self.id).await?;
        self.pacing.cooling = history.unwrap_or_default().forgets_at(&rules);
        Ok(())
    }

    /// Takes what may go now.
    #[expect(clippy::wildcard_enum_match_arm, reason = "any other answer is a mistake of ours, and told")]
    pub(super) async fn take_paced(&mut self, limit: usize, myself: &ActorRef<Msg>) -> Result<Vec<Taken>> {
        let at = now();
        // Before the tables are asked: what comes in after they were is heard.
        self.pacing.heard.listen(true);
        let mut heard = self.pacing.heard.drain();
        self.pacing.chats.append(&mut heard);
        let release = Release {
            oldest: if self.pacing.release { TakePaced::LOOK } else { 0 },
            chats: self.pacing.chats.iter().cloned().collect(),
        };
        let take = TakePaced {
            take: Take { fence: self.fence, session: self.id, lifecycle_only: false, limit, at },
            rules: self.pacing.rules,
            holds: self.pacing.holding,
            release,
        };
        let paced = match self.setup.ledgers.write_patiently(Write::TakePaced(take)).await? {
            Outcome::Paced(paced) => paced,
            other => return Err(Error::bug(format!("a paced take was answered with {other:?}"))),
        };
        self.pacing.learn(&paced, at);
        self.pacing.set_timer(myself, at);
        let more = paced.waits.is_none() && (paced.more || self.pacing.release);
        if more && paced.taken.is_empty() {
            myself
                .cast(Msg::Queued)
                .map_err(|_stopped| Error::unavailable("stopping", "the session ends"))?;
        }
        Ok(paced.taken)
    }

    /// The time has come that something waited for.
    pub(super) async fn paced(&mut self, myself: &ActorRef<Msg>) -> Result<()> {
        let at = now();
        self.pacing.timer = None;
        self.pacing.waits = self.pacing.waits.filter(|until| at < *until);
        if self.pacing.holding && self.pacing.held_until.is_some_and(|until| until <= at) {
            self.pacing.held_until = None;
            self.pacing.release = true;
        }
        self.pacing.set_timer(myself, at);
        self.work(myself).await
    }

    /// WhatsApp refused a message for what the account did.
    #[expect(clippy::wildcard_enum_match_arm, reason = "any other answer is a mistake of ours, and told")]
    pub(super) async fn refused(&mut self, refusal: Refusal) -> Result<()> {
        telemetry::sends_refused(refusal);
        let rules = self.pacing.rules;
        if !rules.rests_after(refusal) {
            return Ok(());
        }
        let refused = Refused { fence: self.fence, session: self.id, refusal, rules, at: now() };
        match self.setup.ledgers.write_patiently(Write::Refused(refused)).await? {
            Outcome::Cooling(until) => self.pacing.cooling = until,
            other => return Err(Error::bug(format!("a refusal was answered with {other:?}"))),
        }
        tracing::warn!(session.id = %self.id, ?refusal, "WhatsApp refuses what this account does; it rests for a while");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pacing::{Reason, Wait};

    fn wait(millis: i64) -> Option<Wait> {
        Some(Wait { code: Reason::NewChats, not_before: Timestamp(millis) })
    }

    #[test]
    fn what_is_held_is_released_in_steps_until_there_is_no_more() {
        let mut pacing = Pacing::new(Rules::default());
        assert!(!pacing.applies(Timestamp(0)));
        pacing.learn(&Paced { held: wait(1_000), holds: 200, ..Paced::default() }, Timestamp(0));
        assert!(pacing.applies(Timestamp(0)) && !pacing.waits(Timestamp(0)));
        assert_eq!(pacing.held_until, Some(Timestamp(1_000)));
        pacing.release = true;
        pacing.learn(&Paced { released: TakePaced::LOOK, ..Paced::default() }, Timestamp(1_000));
        assert!(pacing.release && pacing.holding, "there may be more");
        pacing.learn(&Paced { released: 8, ..Paced::default() }, Timestamp(1_000));
        assert!(!pacing.applies(Timestamp(1_000)) && pacing.held_until.is_none());
    }

    #[test]
    fn a_quota_that_is_spent_again_ends_the_release() {
        let mut pacing = Pacing::new(Rules::default());
        pacing.release = true;
        let told = Paced { released: TakePaced::LOOK, held: wait(5_000), holds: 60, ..Paced::default() };
        pacing.learn(&told, Timestamp(0));
        assert!(!pacing.release && pacing.holding);
        assert_eq!(pacing.held_until, Some(Timestamp(5_000)));
    }

    #[test]
    fn nothing_is_heard_unless_something_is_held() {
        let heard = Heard::default();
        let message = InboundMessage {
            wa_id: crate::domain::ids::WaId("A".into()),
            chat_pn: Some("15550100199".parse().unwrap()),
            chat_lid: None,
            sender_pn: None,
            sender_lid: None,
            direction: crate::domain::message::Direction::In,
            push_name: None,
            content: crate::domain::content::Content::Text { text: "hola".into(), reply_to: None },
            sent_at: Timestamp(0),
        };
        heard.note(std::slice::from_ref(&message));
        assert!(heard.is_empty());
        heard.listen(true);
        heard.note(std::slice::from_ref(&message));
        assert_eq!(heard.drain().into_iter().collect::<Vec<_>>(), ["15550100199@s.whatsapp.net"]);
        heard.note(&[message]);
        heard.listen(false);
        assert!(heard.is_empty());
    }
}
