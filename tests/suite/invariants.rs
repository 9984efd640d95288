//! The promises I1, I2, I3 and I5 as figures over any store, for the end of every test.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{HashMap, HashSet};

use recado::domain::event::Log;
use recado::domain::ids::{Position, Shard, Subject};
use recado::infra::store::Store;

/// Whether messages may still be on their way when the figures are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// The test stops with messages accepted and not ended.
    Allowed,
    /// Every accepted message must have ended.
    Refused,
}

/// What a store's logs say about its promises. All but `events` must be 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Events of both logs.
    pub events: usize,
    /// I1: committed and without a position.
    pub unpublished: i64,
    /// I2: positions missing between 1 and the head.
    pub gaps: i64,
    /// I2: event ids seen more than once.
    pub duplicates: usize,
    /// I3: places where a subject's `seq` does not follow on the one before.
    pub order_violations: usize,
    /// I5: messages accepted that are neither acknowledged nor failed.
    pub stuck: usize,
}

impl Figures {
    /// Fails the test unless every promise holds.
    pub fn assert(&self, open: Open) {
        let mut expected = Self { events: self.events, ..Self::default() };
        if open == Open::Allowed {
            expected.stuck = self.stuck;
        }
        assert_eq!(*self, expected);
    }
}

/// Reads both logs of every shard to their end.
pub async fn figures(store: &dyn Store, shards: u16) -> Figures {
    let mut figures = Figures::default();
    let mut ids = HashSet::new();
    let mut open = HashSet::new();
    for shard in (0..shards).map(Shard) {
        for log in Log::ALL {
            let mut seqs: HashMap<Subject, i64> = HashMap::new();
            let head = store.head(shard, log).await.unwrap();
            figures.unpublished += head.unstamped;
            let mut at = head.floor;
            loop {
                let entries = store.log_after(shard, log, at, 1_000).await.unwrap();
                let Some(last) = entries.last() else { break };
                let upto = last.position;
                for entry in &entries {
                    let event = &entry.event;
                    figures.events += 1;
                    figures.gaps += entry.position.0 - at.0 - 1;
                    at = entry.position;
                    figures.duplicates += usize::from(!ids.insert(event.event_id));
                    let before = seqs.insert(event.subject(), event.seq);
                    let follows = before.map_or_else(
                        || head.floor > Position(0) || event.seq == 1,
                        |seq| event.seq == seq + 1,
                    );
                    figures.order_violations += usize::from(!follows);
                    note(&mut open, &event.kind, event.data.value()["messageId"].as_str());
                }
                assert_eq!(at, upto);
            }
            figures.gaps += head.head.0 - at.0;
        }
    }
    figures.stuck = open.len();
    figures
}

fn note(open: &mut HashSet<String>, kind: &str, message: Option<&str>) {
    let Some(message) = message else { return };
    match kind {
        "message.queued" => {
            open.insert(message.to_owned());
        }
        // Sent and beyond: an acknowledgement may be overtaken by a receipt.
        "message.sent" | "message.delivered" | "message.read" | "message.played" | "message.failed" => {
            open.remove(message);
        }
        _ => (),
    }
}
