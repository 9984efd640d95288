//! Delivering: whose turn it is, and what becomes of a delivery.

use std::sync::Arc;

use ractor::ActorRef;
use tokio::time::Instant;

use super::Msg;
use super::lanes::Next;
use super::record::Record;
use super::state::{News, State};
use crate::actors::handler::{Delivery, Failure};
use crate::actors::task::Panicked;
use crate::domain::ids::Subject;
use crate::domain::now;
use crate::domain::retry::LONGEST;
use crate::domain::write::{DeliveryFailed, Write};
use crate::telemetry;

impl State {
    pub(super) fn dispatch(&mut self, myself: &ActorRef<Msg>) {
        while self.deliveries.len() < self.args.settings.slots {
            match self.lanes.next(Instant::now()) {
                None => return,
                Some(Next::Deliver(delivery)) => self.deliver(myself, delivery),
                Some(Next::Reload(session, after)) => self.reload(myself, session, after),
                Some(Next::Wait(session, until)) => {
                    let timer =
                        self.child(myself, tokio::time::sleep_until(until), move |_| News::Due(session));
                    self.waits.insert(session, timer);
                }
            }
        }
    }

    pub(super) fn deliver(&mut self, myself: &ActorRef<Msg>, delivery: Delivery) {
        let (handler, limit) = (Arc::clone(&self.args.handler), self.args.settings.deadline);
        let (session, given) = (delivery.subject, delivery.clone());
        let work = async move { tokio::time::timeout(limit, handler.handle(&given)).await };
        let ended = move |outcome| {
            let retry = |error| Err(Failure::Retry { error, after: None });
            let outcome = match outcome {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_elapsed)) => retry("the delivery took too long".to_owned()),
                Err(Panicked(text)) => retry(format!("the delivery panicked: {text}")),
            };
            News::Ended(delivery, outcome)
        };
        let task = self.child(myself, work, ended);
        self.deliveries.insert(session, task);
    }

    pub(super) fn ended(&mut self, delivery: &Delivery, outcome: Result<(), Failure>) {
        let session = delivery.subject;
        self.deliveries.remove(&session);
        let handled = if outcome.is_ok() { delivery.entries.len() } else { delivery.handled() };
        self.settle(session, handled);
        match outcome {
            Err(failure) if handled < delivery.entries.len() => self.failed(session, failure),
            Ok(()) | Err(_) => self.lanes.release(session),
        }
    }

    /// The first `count` entries of a session are handled.
    pub(super) fn settle(&mut self, session: Subject, count: usize) {
        for item in self.lanes.settle(session, count) {
            self.failed_before.remove(&item.entry.position);
            match (item.letter, &mut self.progress) {
                (Some(letter), _) => {
                    let write = Write::Redriven(self.args.fence, letter);
                    self.records.push(Record::Redriven(letter, write));
                }
                (None, Some(progress)) => progress.settle(item.entry.position, item.entry.event.event_id),
                (None, None) => {}
            }
        }
    }

    /// The first entry of a session failed: another try at its time, or the end.
    pub(super) fn failed(&mut self, session: Subject, failure: Failure) {
        let Some(item) = self.lanes.head(session) else { return };
        item.failed = item.failed.saturating_add(1);
        let (error, wait) = match failure {
            Failure::Permanent { error } => (error, None),
            Failure::Retry { error, after } => {
                let wait = self.args.settings.retries.after(item.failed);
                (error, wait.map(|wait| wait.max(after.unwrap_or_default()).min(LONGEST)))
            }
        };
        let at = now();
        let record = DeliveryFailed {
            fence: self.args.fence,
            group: self.args.group.clone(),
            log: self.args.log,
            position: item.entry.position,
            event: item.entry.event.event_id,
            attempts: item.failed,
            error,
            at,
            next_at: at.after(wait.unwrap_or_default()),
            dead_letter: item.letter,
        };
        telemetry::deliveries(&self.args.group, "failed", 1);
        let Some(wait) = wait else {
            // The session goes on when the burial is stored.
            let entry = item.entry.clone();
            self.records.push(Record::Buried(entry, record));
            return;
        };
        item.not_before = Some(Instant::now() + wait);
        // A redriven letter starts afresh after a restart: its tries are not counted in the table.
        if item.letter.is_none() {
            self.records.push(Record::Failed(record));
        }
        self.lanes.release(session);
    }
}
