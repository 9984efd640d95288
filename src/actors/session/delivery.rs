//! Sending: a few at a time, in order, until WhatsApp acknowledges or refuses.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::time::Instant;

use super::{Msg, State};
use crate::actors::task::{self, ChildTask};
use crate::domain::error::{Error, Result};
use crate::domain::ids::WaId;
use crate::domain::message::MessageState;
use crate::domain::pacing;
use crate::domain::time::{Timestamp, now};
use crate::domain::write::{MessageNews, Outcome, Progress, Take, Taken, Write};
use crate::infra::gateway::{Link, SendError};

/// The most messages on their way to an acknowledgement.
const IN_FLIGHT: usize = 64;

/// The most messages taken at once.
const RUN: usize = 32;

/// The most news that waits for the store.
const NEWS_LIMIT: usize = 65_536;

/// How often an unacknowledged message is sent, under the same id, before it fails.
const TRIES: u32 = 3;

/// A message WhatsApp has not acknowledged yet.
struct Waiting {
    taken: Taken,
    since: Instant,
    tries: u32,
}

/// What is being sent and what is known about it.
#[derive(Default)]
pub(super) struct Delivery {
    sending: Option<ChildTask>,
    waiting: HashMap<WaId, Waiting>,
    /// To be sent again on this link.
    again: VecDeque<Taken>,
    /// What to record.
    news: Vec<MessageNews>,
    /// The link is new: what an older one took and did not finish must be queued again first.
    link_is_new: bool,
    /// A wake-up came while a run of sends was under way.
    more: bool,
}

impl Delivery {
    pub(super) fn link_is_new(&mut self) {
        self.link_is_new = true;
    }

    pub(super) fn link_gone(&mut self) {
        self.sending = None;
        self.waiting.clear();
        self.again.clear();
    }

    /// Whether something is due that no message will remind of.
    pub(super) fn is_behind(&self) -> bool {
        self.link_is_new || !self.again.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.sending.is_none() && self.waiting.is_empty() && self.news.is_empty()
    }

    /// While the store does not answer, what links tell stays with them.
    pub(super) fn has_room(&self) -> Result<()> {
        if self.news.len() < NEWS_LIMIT {
            return Ok(());
        }
        Err(Error::unavailable("news_waiting", "too much news of messages waits for the store"))
    }

    /// WhatsApp's server took or refused a message.
    pub(super) fn acked(&mut self, wa_id: WaId, refusal: Option<u16>, at: Timestamp) {
        self.waiting.remove(&wa_id);
        let (state, failure) = match refusal {
            None => (MessageState::Sent, None),
            Some(code) => (MessageState::Failed, Some((format!("nack_{code}"), pacing::refused(code)))),
        };
        self.news.push(MessageNews { wa_id, state, failure, at });
    }

    pub(super) fn receipt(&mut self, wa_ids: Vec<WaId>, state: MessageState, at: Timestamp) {
        for wa_id in wa_ids {
            // A receipt proves that the server has it, whatever became of its ack.
            self.waiting.remove(&wa_id);
            self.news.push(MessageNews { wa_id, state, failure: None, at });
        }
    }

    fn failed(&mut self, wa_id: WaId, code: String, reason: String) {
        self.news.push(MessageNews {
            wa_id,
            state: MessageState::Failed,
            failure: Some((code, reason)),
            at: now(),
        });
    }

    /// Unacknowledged for too long: once more under the same id, then failed.
    fn overdue(&mut self, within: Duration) {
        let late: Vec<WaId> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.since.elapsed() >= within)
            .map(|(wa_id, _)| wa_id.clone())
            .collect();
        for wa_id in late {
            let Some(waiting) = self.waiting.get_mut(&wa_id) else { continue };
            if waiting.tries < TRIES {
                waiting.since = Instant::now();
                waiting.tries += 1;
                self.again.push_back(waiting.taken.clone());
            } else {
                self.waiting.remove(&wa_id);
                self.failed(wa_id, "ack_timeout".into(), "WhatsApp did not acknowledge the message".into());
            }
        }
    }

    fn await_ack(&mut self, taken: &[Taken]) {
        for taken in taken {
            let Some(message) = &taken.message else { continue };
            let fresh = || Waiting { taken: taken.clone(), since: Instant::now(), tries: 1 };
            self.waiting.entry(message.wa_id.clone()).or_insert_with(fresh);
        }
    }
}

impl State {
    /// Sends what is due on the live link.
    pub(super) async fn send_due(&mut self, myself: &ActorRef<Msg>) -> Result<()> {
        let Some(link) = self.connection.live() else { return Ok(()) };
        if self.delivery.sending.is_some() {
            self.delivery.more = true;
            return Ok(());
        }
        self.delivery.more = false;
        let mut run: Vec<Taken> = self.delivery.again.drain(..).collect();
        if run.is_empty() {
            run = self.take(myself).await?;
        }
        if run.is_empty() {
            return Ok(());
        }
        self.delivery.await_ack(&run);
        let generation = self.connection.generation;
        let send = task::spawn_child(myself, send_all(link, run), move |answers| {
            // A panic in the engine is answered by none; the link's own end requeues what was taken.
            Msg::Sent(generation, answers.unwrap_or_default())
        });
        self.delivery.sending = Some(send);
        Ok(())
    }

    /// Takes the next run; lifecycle commands in it are carried out here.
    async fn take(&mut self, myself: &ActorRef<Msg>) -> Result<Vec<Taken>> {
        if self.delivery.link_is_new {
            self.setup.ledgers.write_patiently(Write::Requeue(self.fence, self.id)).await?;
            self.delivery.link_is_new = false;
            self.pacing.forget();
        }
        let at = now();
        if self.pacing.waits(at) {
            return Ok(Vec::new());
        }
        let room = IN_FLIGHT.saturating_sub(self.delivery.waiting.len());
        if room == 0 {
            return Ok(Vec::new());
        }
        let taken = if self.pacing.applies(at) {
            self.take_paced(room.min(RUN), myself).await?
        } else {
            self.take_commands(false, room.min(RUN)).await?
        };
        let (messages, lifecycle): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|taken| taken.message.is_some());
        self.obey(lifecycle, myself).await?;
        Ok(messages)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "any other answer is a mistake of ours, and told")]
    pub(super) async fn take_commands(&mut self, lifecycle_only: bool, limit: usize) -> Result<Vec<Taken>> {
        let take = Take { fence: self.fence, session: self.id, lifecycle_only, limit, at: now() };
        match self.setup.ledgers.write_patiently(Write::Take(take)).await? {
            Outcome::Taken(taken) => Ok(taken),
            other => Err(Error::bug(format!("a take was answered with {other:?}"))),
        }
    }

    /// A run of sends is through.
    pub(super) async fn sent(
        &mut self,
        generation: u64,
        answers: Vec<(Taken, Result<(), SendError>)>,
        myself: &ActorRef<Msg>,
    ) -> Result<()> {
        if generation != self.connection.generation {
            return Ok(());
        }
        self.delivery.sending = None;
        let mut refused = false;
        for (taken, answer) in answers {
            let Some(message) = &taken.message else { continue };
            match answer {
                Ok(()) => {}
                Err(SendError::Refused { code, reason }) => {
                    refused = true;
                    self.delivery.waiting.remove(&message.wa_id);
                    self.delivery.failed(message.wa_id.clone(), code, reason);
                }
                // It stays among the waiting and is sent again when it is overdue, or by the next link.
                Err(SendError::NotNow(why)) => tracing::debug!(session.id = %self.id, why, "a message waits"),
            }
        }
        if refused {
            self.flush_news().await?;
        }
        self.send_due(myself).await
    }

    /// Records what is known about messages. Kept when the store does not take it.
    pub(super) async fn flush_news(&mut self) -> Result<()> {
        if self.delivery.news.is_empty() {
            return Ok(());
        }
        let news = self.delivery.news.clone();
        let progress = Progress { fence: self.fence, session: self.id, news };
        self.setup.ledgers.write_patiently(Write::Progress(progress)).await?;
        self.delivery.news.clear();
        Ok(())
    }

    pub(super) fn look_after_overdue(&mut self) {
        if self.connection.live().is_some() {
            self.delivery.overdue(self.setup.ack_within);
        }
    }
}

/// One after the other, so that a chat keeps its order. Stops at the first that must wait: the rest stays behind it.
async fn send_all(link: Arc<dyn Link>, run: Vec<Taken>) -> Vec<(Taken, Result<(), SendError>)> {
    let mut answers = Vec::with_capacity(run.len());
    for taken in run {
        let Some(message) = &taken.message else { continue };
        let answer = link.send(message).await;
        let wait = matches!(answer, Err(SendError::NotNow(_)));
        answers.push((taken, answer));
        if wait {
            break;
        }
    }
    answers
}
