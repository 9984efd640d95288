//! Getting entries: the group's state at the start, new and claimed ones, long queues, dead letters.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::time::Instant;

use super::Msg;
use super::fetch::{Fetch, Fetched};
use super::lanes::Item;
use super::progress::{Admission, Progress};
use super::state::{News, State, flat};
use crate::domain::error::Result;
use crate::domain::event::Entry;
use crate::domain::ids::{Position, Subject};
use crate::domain::now;
use crate::domain::view::{DeliveryState, GroupState, Redriving};
use crate::telemetry;

/// The most entries fetched at once, and the most dead letters under way.
const BATCH: usize = 512;

/// The most entries that came and are not handled, of those beyond a session's share only the positions.
const OPEN: usize = 1_000_000;

/// How long a fetch waits for something new.
const WAIT: Duration = Duration::from_secs(5);

impl State {
    pub(super) fn loaded(&mut self, group: &GroupState) {
        self.troubles = 0;
        self.failed_before = group.waiting.iter().map(|state| (state.position, state.clone())).collect();
        self.progress = Some(Progress::new(group));
    }

    pub(super) fn fetch(&mut self, myself: &ActorRef<Msg>) {
        if self.fetching.is_some() || self.pause.is_some() {
            return;
        }
        let Some(progress) = &self.progress else {
            let (store, key, group) = (Arc::clone(&self.args.store), self.key, self.args.group.clone());
            let work = async move { store.group(key.shard, key.log, &group).await };
            self.fetching = Some(self.child(myself, work, |outcome| News::Loaded(flat(outcome))));
            return;
        };
        let room = self.args.settings.window.saturating_sub(self.lanes.held());
        if room < self.args.settings.window / 4 || progress.open() >= OPEN {
            return;
        }
        let fetch = Fetch {
            store: Arc::clone(&self.args.store),
            stream: Arc::clone(&self.args.stream),
            key: self.key,
            group: self.args.group.clone(),
            consumer: self.consumer.clone(),
            cursor: progress.cursor(),
            seen: progress.seen(),
            known: self.known,
            count: room.clamp(1, BATCH),
            wait: WAIT.min(self.args.settings.poll),
            claim: self.claim,
        };
        self.fetching = Some(self.child(myself, fetch.run(), |outcome| News::Fetched(flat(outcome))));
    }

    pub(super) fn fetched(&mut self, fetched: Fetched) {
        self.troubles = 0;
        if fetched.unheard {
            self.start_anew();
        }
        let Some(progress) = &mut self.progress else { return };
        if fetched.lost > 0 {
            let (log, lost) = (self.key.log, fetched.lost);
            tracing::error!(group = self.args.group, %log, lost, "entries are neither in the stream nor in the table");
            telemetry::events_missed(log, lost);
        }
        if fetched.claimed {
            self.claim = None;
        }
        self.known = self.known.max(fetched.known);
        progress.skip(fetched.skip);
        for entry in fetched.entries {
            match progress.admit(entry.position) {
                Admission::New if !self.args.handler.wants(&entry.event) => {
                    progress.settle(entry.position, entry.event.event_id);
                }
                Admission::New => self.lanes.push(item(&self.failed_before, entry)),
                Admission::Open => {}
                Admission::Handled => self.acks.push(entry.position),
            }
        }
    }

    pub(super) fn reload(&mut self, myself: &ActorRef<Msg>, session: Subject, after: Position) {
        let (store, key) = (Arc::clone(&self.args.store), self.key);
        let work = async move {
            let rows = store.log_after(key.shard, key.log, after, BATCH).await?;
            // Nothing there at all: even the entry looked for is gone.
            let upto = rows.last().map_or_else(|| after.plus(1), |last| last.position);
            Ok((rows, upto))
        };
        let task = self.child(myself, work, move |outcome| News::Reloaded(session, flat(outcome)));
        self.waits.insert(session, task);
    }

    pub(super) fn reloaded(
        &mut self,
        myself: &ActorRef<Msg>,
        session: Subject,
        outcome: Result<(Vec<Entry>, Position)>,
    ) {
        self.waits.remove(&session);
        match outcome {
            Ok((rows, upto)) => {
                let items = rows.into_iter().map(|entry| item(&self.failed_before, entry)).collect();
                let lost = self.lanes.reloaded(session, items, upto);
                telemetry::events_missed(self.key.log, lost.len());
                if let Some(progress) = &mut self.progress {
                    lost.into_iter().for_each(|position| progress.lose(position));
                }
            }
            Err(error) => {
                tracing::debug!(group = self.args.group, %error, "a long queue cannot be read yet");
                let wait = tokio::time::sleep(Duration::from_secs(1));
                let task = self.child(myself, wait, move |_elapsed| News::Due(session));
                self.waits.insert(session, task);
            }
        }
    }

    pub(super) fn look_for_letters(&mut self, myself: &ActorRef<Msg>) {
        // Those under way would be found again: the next look is when they are done.
        if self.looking.is_some() || !self.letters.is_empty() || self.progress.is_none() {
            self.more_letters = true;
            return;
        }
        self.more_letters = false;
        let (store, key, group) = (Arc::clone(&self.args.store), self.key, self.args.group.clone());
        let work = async move { store.redriving(key.shard, key.log, &group, BATCH).await };
        self.looking = Some(self.child(myself, work, |outcome| News::Letters(flat(outcome))));
    }

    pub(super) fn redrive(&mut self, letters: Vec<Redriving>) {
        self.more_letters |= letters.len() >= BATCH;
        for letter in letters {
            if self.letters.insert(letter.id) {
                let entry = Entry { position: letter.event.position, event: Arc::new(letter.event) };
                self.lanes.push(Item { entry, letter: Some(letter.id), failed: 0, not_before: None });
            }
        }
    }
}

/// An entry with the failures it had before this start.
fn item(failed_before: &HashMap<Position, DeliveryState>, entry: Entry) -> Item {
    let before = failed_before.get(&entry.position);
    let not_before = before.map(|state| Instant::now() + state.next_at.since(now()));
    Item { entry, letter: None, failed: before.map_or(0, |state| state.attempts), not_before }
}
