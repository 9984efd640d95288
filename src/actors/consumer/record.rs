//! What a consumer writes: progress, failed tries, burials and redriven letters, then the acknowledgement.
//!
//! Promises: an entry is acknowledged only after its outcome is stored; what could not be stored comes back.

use std::sync::Arc;

use futures_util::future::join_all;

use super::progress::Save;
use crate::actors::ledger::Ledgers;
use crate::domain::error::Error;
use crate::domain::event::Entry;
use crate::domain::ids::{DeadLetterId, Position};
use crate::domain::write::{DeliveryFailed, Handled, Write};
use crate::infra::stream::{Burial, Stream, StreamKey};
use crate::telemetry;

/// One thing to store, and what it means to the consumer.
#[derive(Clone)]
pub(super) enum Record {
    Progress(Save, Handled),
    Redriven(DeadLetterId, Write),
    Failed(DeliveryFailed),
    Buried(Entry, DeliveryFailed),
}

impl Record {
    fn write(&self) -> Write {
        match self {
            Self::Progress(_, handled) => Write::Handled(handled.clone()),
            Self::Redriven(_, write) => write.clone(),
            Self::Failed(failed) => Write::DeliveryFailed(failed.clone()),
            Self::Buried(_, failed) => Write::Bury(failed.clone()),
        }
    }
}

/// What became of a batch of records.
pub(super) struct Recorded {
    pub(super) stored: Vec<Record>,
    pub(super) refused: Vec<(Record, Error)>,
    /// Stored, but the stream could not be told.
    pub(super) unacked: Vec<Position>,
}

/// Where records go.
pub(super) struct Recorder {
    pub(super) ledgers: Ledgers,
    pub(super) stream: Arc<dyn Stream>,
    pub(super) key: StreamKey,
    pub(super) group: String,
}

impl Recorder {
    /// Stores all of them in as few transactions as the Ledger makes of it; then acknowledges what is handled, and
    /// `acks` that were waiting.
    pub(super) async fn run(self, records: Vec<Record>, mut acks: Vec<Position>) -> Recorded {
        let answers =
            join_all(records.iter().map(|record| self.ledgers.write_patiently(record.write()))).await;
        let (mut stored, mut refused) = (Vec::new(), Vec::new());
        for (record, answer) in records.into_iter().zip(answers) {
            match answer {
                Ok(_done) => stored.push(record),
                Err(error) => refused.push((record, error)),
            }
        }
        for record in &stored {
            match record {
                Record::Progress(save, _) => acks.extend(save.handled.iter().map(|(position, _)| *position)),
                Record::Buried(entry, failed) => self.copy(entry, failed).await,
                Record::Redriven(..) | Record::Failed(_) => {}
            }
        }
        let acked = acks.is_empty() || self.ack(&acks).await;
        Recorded { stored, refused, unacked: if acked { Vec::new() } else { acks } }
    }

    /// Shows outside what was buried. The table is the truth: a copy that fails is counted and not tried again.
    async fn copy(&self, entry: &Entry, failed: &DeliveryFailed) {
        let DeliveryFailed { attempts, error, at, .. } = failed;
        let burial = Burial { group: &self.group, entry, attempts: *attempts, error, at: *at };
        match self.stream.copy_dead_letter(self.key.log, burial).await {
            Ok(copied) if copied => telemetry::dead_letter_copy("copied"),
            Ok(_no_place_for_copies) => {}
            Err(error) => {
                telemetry::dead_letter_copy("failed");
                tracing::warn!(group = self.group, %error, "a dead letter is in the table and has no copy");
            }
        }
    }

    async fn ack(&self, acks: &[Position]) -> bool {
        match self.stream.ack(self.key, &self.group, acks).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(group = self.group, %error, "handled entries could not be acknowledged yet");
                false
            }
        }
    }
}
