//! What a consumer group does with events: the one thing that differs between groups.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::consumer::Settings;
use crate::domain::event::{Entry, Event};
use crate::domain::ids::Subject;

/// Does something for each event.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles entries of one subject (a session, or a tenant's own), in order. Nothing else of it is handled meanwhile;
    /// others are. May be called again for the same entries after a failure or a crash: an effect outside should carry the
    /// event's id.
    async fn handle(&self, delivery: &Delivery) -> Result<(), Failure>;

    /// Whether this event is anything to it; what is not counts as handled and is never delivered.
    fn wants(&self, _event: &Event) -> bool {
        true
    }

    /// The limits and the patience it needs, instead of the usual ones.
    fn settings(&self, usual: Settings) -> Settings {
        usual
    }
}

/// A run of waiting entries of one subject.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Whose: a session's, or a tenant's own.
    pub subject: Subject,
    /// In order; at least one.
    pub entries: Vec<Entry>,
    /// How often the first of them has failed before.
    pub attempt: u32,
    done: Arc<AtomicUsize>,
}

impl Delivery {
    /// A run to hand over; at least one entry.
    #[must_use]
    pub fn new(subject: Subject, entries: Vec<Entry>, attempt: u32) -> Self {
        Self { subject, entries, attempt, done: Arc::default() }
    }

    /// Tells that the first `n` entries are handled: a failure afterwards is the next one's, and these are not
    /// delivered again.
    pub fn done(&self, n: usize) {
        self.done.fetch_max(n.min(self.entries.len()), Ordering::AcqRel);
    }

    /// How many are handled for certain.
    #[must_use]
    pub fn handled(&self) -> usize {
        self.done.load(Ordering::Acquire)
    }
}

/// Why a delivery failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may go better later.
    Retry {
        /// For people. No secret, number or address.
        error: String,
        /// When the other side said so: not before.
        after: Option<Duration>,
    },
    /// It will never go better: bury it at once.
    Permanent {
        /// For people. No secret, number or address.
        error: String,
    },
}
