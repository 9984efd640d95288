//! A client's view of the events of all shards, or of the one shard that its session is on.
//!
//! Promises those of a [`Subscription`] on each shard: everything wanted comes once, in order per session, or the client
//! is told where to resume on every shard. A busy shard does not starve a quiet one. [`Following::next`] may be dropped
//! at any point without losing anything.

use std::sync::Arc;

use futures_util::future::select_all;
use tokio::sync::OwnedSemaphorePermit;

use super::archive::Queries;
use super::hub::{Alarm, Hub, Ticket};
use super::hubs::Hubs;
use super::subscription::{Frame, Subscription};
use crate::domain::cursor::Cursor;
use crate::domain::error::{Error, Result};
use crate::domain::ids::{Position, Shard};
use crate::domain::view::EventFilter;

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// An event.
    Event {
        /// Of which shard.
        shard: Shard,
        /// Its place there.
        position: Position,
        /// The event, as on the wire; shared by all clients.
        json: Arc<str>,
    },
    /// It is over. Nothing follows.
    Closed {
        /// Where to go on.
        resume_after: Cursor,
        /// See [`Frame::Closed`].
        reason: &'static str,
    },
}

/// One client's events.
pub struct Following {
    parts: Vec<Subscription>,
    /// Which part is asked first.
    turn: usize,
    /// Where the shards that are not followed stay.
    rest: Cursor,
    ticket: Arc<Ticket>,
    _place: OwnedSemaphorePermit,
}

impl Following {
    /// Follows all above `after`, or from now on.
    ///
    /// # Errors
    /// As for [`Subscription::open`].
    pub async fn open(
        hubs: &Hubs,
        queries: &Queries,
        filter: EventFilter,
        after: Option<Cursor>,
    ) -> Result<Self> {
        let all: Vec<&Hub> = hubs.iter().collect();
        let shards = u16::try_from(all.len()).unwrap_or(u16::MAX);
        let first = all.first().ok_or_else(|| Error::unavailable("no_api", "this node serves no clients"))?;
        // One ticket for all: a client that is too slow for one hub is closed on all of them.
        let (ticket, place) = first.ticket()?;
        let only = filter.session.map(|session| Shard::of(session, shards));
        let mut parts = Vec::with_capacity(all.len());
        for hub in all.into_iter().filter(|hub| only.is_none_or(|only| hub.shard() == only)) {
            let after = after.as_ref().map(|after| after.of(hub.shard()));
            parts.push(Subscription::ticketed(hub, queries, filter.clone(), after, ticket.clone()).await?);
        }
        let rest = after.unwrap_or_else(|| Cursor::start(shards));
        Ok(Self { parts, turn: 0, rest, ticket, _place: place })
    }

    /// The last positions given: everything wanted up to here was told already.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        let mut cursor = self.rest.clone();
        self.parts.iter().for_each(|part| cursor.set(part.shard(), part.position()));
        cursor
    }

    /// Raised when this client is being closed, for a reader that is stuck in a write.
    #[must_use]
    pub fn alarm(&self) -> Alarm {
        self.ticket.alarm()
    }

    /// The next event, or the end.
    pub async fn next(&mut self) -> Shown {
        let (shard, frame) = match &mut self.parts[..] {
            [only] => (only.shard(), only.next().await),
            parts => {
                self.turn = (self.turn + 1) % parts.len().max(1);
                let (later, first) = parts.split_at_mut(self.turn);
                let asked = first.iter_mut().chain(later).map(|part| {
                    Box::pin(async move {
                        let shard = part.shard();
                        (shard, part.next().await)
                    })
                });
                select_all(asked).await.0
            }
        };
        match frame {
            Frame::Event { position, json } => Shown::Event { shard, position, json },
            Frame::Closed { reason, .. } => Shown::Closed { resume_after: self.cursor(), reason },
        }
    }
}
