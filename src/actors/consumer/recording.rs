//! Recording: one write at a time, of all that gathered meanwhile.

use std::sync::Arc;

use ractor::ActorRef;

use super::Msg;
use super::progress::Progress;
use super::record::{Record, Recorded, Recorder};
use super::state::{News, State};
use crate::actors::task::Panicked;
use crate::domain::error::{Error, Kind, Result};
use crate::domain::ids::{DeadLetterId, Subject};
use crate::domain::write::Handled;
use crate::telemetry;

/// The most acknowledgements kept for a stream that does not answer.
const ACKS: usize = 65_536;

impl State {
    pub(super) fn record(&mut self, myself: &ActorRef<Msg>) {
        if self.recording.is_some() || self.pause.is_some() {
            return;
        }
        let mut records = std::mem::take(&mut self.records);
        if let Some(save) = self.progress.as_mut().and_then(Progress::save) {
            let handled = Handled {
                fence: self.args.fence,
                group: self.args.group.clone(),
                log: self.args.log,
                cursor: save.cursor,
                above: save.above(),
            };
            records.push(Record::Progress(save, handled));
        }
        let acks = std::mem::take(&mut self.acks);
        if records.is_empty() && acks.is_empty() {
            return;
        }
        let recorder = Recorder {
            ledgers: self.args.ledgers.clone(),
            stream: Arc::clone(&self.args.stream),
            key: self.key,
            group: self.args.group.clone(),
        };
        let kept = records.clone();
        let news = move |outcome: Result<Recorded, Panicked>| {
            News::Recorded(outcome.unwrap_or_else(|panicked| {
                let refused = kept.into_iter().map(|record| (record, Error::bug(&panicked))).collect();
                Recorded { stored: Vec::new(), refused, unacked: Vec::new() }
            }))
        };
        self.recording = Some(self.child(myself, recorder.run(records, acks), news));
    }

    pub(super) fn recorded(&mut self, myself: &ActorRef<Msg>, recorded: Recorded) -> Result<()> {
        self.recording = None;
        for record in recorded.stored {
            self.stored(record);
        }
        let mut trouble = None;
        for (record, error) in recorded.refused {
            if error.kind == Kind::Fenced {
                return Err(error);
            }
            self.refused(record, &error);
            trouble = Some(error);
        }
        self.acks.extend(recorded.unacked.iter().copied());
        // Without a stream for long: what is not acknowledged comes again, and is known to be handled then.
        let surplus = self.acks.len().saturating_sub(ACKS);
        self.acks.drain(..surplus);
        match trouble {
            Some(error) => self.trouble(myself, &error),
            None if !recorded.unacked.is_empty() => {
                self.trouble(myself, &Error::unavailable("not_acknowledged", "the stream does not answer"));
            }
            None => self.troubles = 0,
        }
        if self.more_letters && self.letters.is_empty() {
            self.look_for_letters(myself);
        }
        Ok(())
    }

    pub(super) fn stored(&mut self, record: Record) {
        let group = &self.args.group;
        match record {
            Record::Progress(save, _) => {
                telemetry::deliveries(group, "handled", save.handled.len());
                if let Some(progress) = &mut self.progress {
                    self.acks.extend(progress.saved(&save));
                    telemetry::consumer_lag(self.key.shard, group, progress.cursor(), progress.seen());
                }
            }
            Record::Redriven(letter, _) => {
                telemetry::deliveries(group, "redriven", 1);
                self.letters.remove(&letter);
            }
            Record::Failed(_) => {}
            Record::Buried(entry, failed) => {
                telemetry::deliveries(group, "buried", 1);
                telemetry::dead_letter(group);
                self.buried(entry.event.subject(), failed.dead_letter);
            }
        }
    }

    pub(super) fn buried(&mut self, session: Subject, letter: Option<DeadLetterId>) {
        match letter {
            // It is buried again, not redriven.
            Some(letter) => {
                self.lanes.settle(session, 1);
                self.letters.remove(&letter);
            }
            None => self.settle(session, 1),
        }
        self.lanes.release(session);
    }

    /// What could not be stored is stored later; what can never be is let go.
    pub(super) fn refused(&mut self, record: Record, error: &Error) {
        match (record, error.kind) {
            (Record::Progress(save, _), _) => {
                if let Some(progress) = &mut self.progress {
                    progress.not_saved(save);
                }
            }
            (Record::Redriven(letter, _), Kind::NotFound | Kind::Conflict | Kind::Invalid) => {
                tracing::warn!(group = self.args.group, %error, "a redriven letter is not there any more");
                self.letters.remove(&letter);
            }
            (Record::Buried(entry, failed), Kind::NotFound) => {
                tracing::error!(group = self.args.group, %error, "an event to bury is not in the table any more");
                self.buried(entry.event.subject(), failed.dead_letter);
            }
            // The count goes on in memory; the next failure stores it.
            (Record::Failed(_), _) => {}
            (record @ (Record::Redriven(..) | Record::Buried(..)), _) => self.records.push(record),
        }
    }
}
