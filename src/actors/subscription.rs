//! A client's view of the events: first what it missed, from the table, then what happens, from the hub.
//!
//! Promises: every wanted event above the starting position comes once and in order, or the subscription ends with
//! the position to resume from. Catching up is page by page, at the client's pace, and never fills a buffer; a burst larger than the buffer is caught up likewise. A hub that
//! restarts is not noticed. [`Subscription::next`] may be dropped at any point without losing anything.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use super::archive::Queries;
use super::hub::{Alarm, Hub, Joined, Packet, Ticket};
use crate::domain::error::{Error, Kind, Result};
use crate::domain::event::{Event, Log};
use crate::domain::ids::{Position, Shard};
use crate::domain::view::EventFilter;

/// Events of one page of the table.
const PAGE: usize = 256;

/// How long a hub or archive may be away before the client is asked to come back later.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long to wait before asking again.
const AGAIN: Duration = Duration::from_millis(100);

/// What a client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An event.
    Event {
        /// Its place; the client resumes after it.
        position: Position,
        /// The event, as on the wire; shared by all clients.
        json: Arc<str>,
    },
    /// It is over. Nothing follows.
    Closed {
        /// Where to go on.
        resume_after: Position,
        /// `slow`: the client did not read. `stopping`: the node goes down. `unavailable`: events cannot be read now.
        reason: &'static str,
    },
}

/// One client's events.
pub struct Subscription {
    hub: Hub,
    queries: Queries,
    filter: EventFilter,
    ticket: Arc<Ticket>,
    _place: Option<OwnedSemaphorePermit>,
    /// Where a client that has all it was given goes on.
    position: Position,
    source: Source,
    /// Since when nothing could be read.
    stuck: Option<Instant>,
}

enum Source {
    /// Events of the table still to be given; then everything above the position has to be found.
    Catching(VecDeque<Event>, Position),
    Live(mpsc::Receiver<Arc<Packet>>),
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.leave(&self.ticket);
    }
}

impl Subscription {
    /// Follows the events of the hub's shard: all above `after`, or from now on.
    ///
    /// # Errors
    /// `Busy` when too many follow; `Invalid` when `after` is ahead of the log; `Unavailable` when the hub is away.
    pub async fn open(
        hub: &Hub,
        queries: &Queries,
        filter: EventFilter,
        after: Option<Position>,
    ) -> Result<Self> {
        let (ticket, place) = hub.ticket()?;
        let mut open = Self::ticketed(hub, queries, filter, after, ticket).await?;
        open._place = Some(place);
        Ok(open)
    }

    /// The same for a client that has a ticket, and a place, for several hubs.
    pub(super) async fn ticketed(
        hub: &Hub,
        queries: &Queries,
        filter: EventFilter,
        after: Option<Position>,
        ticket: Arc<Ticket>,
    ) -> Result<Self> {
        let (position, source) = match after {
            Some(after) => {
                check(queries, hub.shard(), after).await?;
                (after, Source::Catching(VecDeque::new(), after))
            }
            None => match patiently(|| hub.join(&filter, None, &ticket)).await? {
                Joined::Live { packets, from } => (from, Source::Live(packets)),
                Joined::Behind => return Err(Error::bug("a client that wants nothing old is behind")),
            },
        };
        let (hub, queries) = (hub.clone(), queries.clone());
        Ok(Self { hub, queries, filter, ticket, _place: None, position, source, stuck: None })
    }

    /// Whose events these are.
    pub(super) fn shard(&self) -> Shard {
        self.hub.shard()
    }

    /// The last position given: everything wanted up to here was a frame already.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Raised when this client is being closed, for a reader that is stuck in a write.
    #[must_use]
    pub fn alarm(&self) -> Alarm {
        self.ticket.alarm()
    }

    /// The next event, or the end.
    pub async fn next(&mut self) -> Frame {
        loop {
            if let Some(reason) = self.ticket.closed() {
                return self.closed(reason);
            }
            match &mut self.source {
                Source::Live(packets) => {
                    let mut alarm = self.ticket.alarm();
                    let packet = tokio::select! {
                        biased;
                        _ = alarm.raised() => continue,
                        packet = packets.recv() => packet,
                    };
                    match packet {
                        Some(packet) => match packet.json() {
                            Ok(json) => return self.give(packet.position(), json),
                            Err(error) => return self.unavailable(&error),
                        },
                        // The buffer overflowed, or the hub died: what is above the position comes from the ring, the
                        // table or the next hub.
                        None => self.source = Source::Catching(VecDeque::new(), self.position),
                    }
                }
                Source::Catching(events, _) => {
                    if let Some(event) = events.pop_front() {
                        match serde_json::to_string(&event) {
                            Ok(json) => return self.give(event.position, json.into()),
                            Err(error) => return self.unavailable(&Error::bug(error)),
                        }
                    }
                    if let Err(error) = self.catch_up().await {
                        let since = *self.stuck.get_or_insert_with(Instant::now);
                        if since.elapsed() > PATIENCE {
                            return self.unavailable(&error);
                        }
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        }
    }

    /// Goes live, or reads the next page.
    async fn catch_up(&mut self) -> Result<()> {
        let Source::Catching(_, scanned) = self.source else { return Ok(()) };
        // A filter may have passed over everything up to here.
        self.position = self.position.max(scanned);
        match self.hub.join(&self.filter, Some(scanned), &self.ticket).await? {
            Joined::Live { packets, from: _ } => self.source = Source::Live(packets),
            Joined::Behind => {
                let (shard, filter) = (self.hub.shard(), self.filter.clone());
                let page = self
                    .queries
                    .ask(move |store| async move { store.events(shard, &filter, scanned, PAGE).await });
                let (events, upto) = page.await?;
                if upto <= scanned && events.is_empty() {
                    return Err(Error::unavailable(
                        "events_late",
                        "the table does not show what the hub has",
                    ));
                }
                self.source = Source::Catching(events.into(), upto);
            }
        }
        self.stuck = None;
        Ok(())
    }

    fn give(&mut self, position: Position, json: Arc<str>) -> Frame {
        self.position = position;
        Frame::Event { position, json }
    }

    fn unavailable(&self, error: &Error) -> Frame {
        tracing::warn!(shard = %self.hub.shard(), %error, "a client is closed: events cannot be read");
        self.closed("unavailable")
    }

    fn closed(&self, reason: &'static str) -> Frame {
        Frame::Closed { resume_after: self.position, reason }
    }
}

/// A position the log never reached would wait for ever and then skip what comes up to it.
async fn check(queries: &Queries, shard: Shard, after: Position) -> Result<()> {
    if after < Position::default() {
        return Err(Error::invalid("after", "invalid_position", "must not be negative"));
    }
    let query = move |store: Arc<dyn crate::infra::store::Store>| async move {
        store.head(shard, Log::DomainEvents).await
    };
    if after > queries.ask(query).await?.head {
        return Err(Error::invalid("after", "position_ahead", "is ahead of the log"));
    }
    Ok(())
}

/// Asks again while the hub is starting.
async fn patiently<T, Fut: Future<Output = Result<T>>>(mut ask: impl FnMut() -> Fut) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(error) if error.kind == Kind::Unavailable && Instant::now() < deadline => {
                tokio::time::sleep(AGAIN).await;
            }
            answer => return answer,
        }
    }
}
