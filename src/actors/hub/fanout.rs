//! Who gets which event: the clients, their buffers, and a ring of recent events for those that come back.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::handle::{Joined, Limits, Ticket};
use crate::domain::error::{Error, Result};
use crate::domain::event::Entry;
use crate::domain::ids::Position;
use crate::domain::view::EventFilter;
use crate::telemetry;

/// An event on its way to clients, and its JSON once somebody needed it.
pub(crate) struct Packet {
    entry: Entry,
    json: OnceLock<Arc<str>>,
}

impl Packet {
    pub(crate) fn position(&self) -> Position {
        self.entry.position
    }

    /// The event's JSON, made at the first call.
    pub(crate) fn json(&self) -> Result<Arc<str>> {
        if let Some(json) = self.json.get() {
            return Ok(Arc::clone(json));
        }
        let text = serde_json::to_string(&*self.entry.event).map_err(Error::bug)?;
        Ok(Arc::clone(self.json.get_or_init(|| text.into())))
    }
}

/// A client's place: what it wants, and its buffer.
pub(super) struct Seat {
    filter: EventFilter,
    /// Events up to here are not for it: it has them.
    after: Position,
    ticket: Arc<Ticket>,
    buffer: mpsc::Sender<Arc<Packet>>,
}

pub(super) struct Fanout {
    limits: Limits,
    position: Position,
    ring: VecDeque<Arc<Packet>>,
    seats: HashMap<u64, Seat>,
    /// Clients whose buffer was full, and since when: they read what they have and join again, or are closed.
    lapsed: HashMap<u64, (Arc<Ticket>, Instant)>,
}

/// What became of an event for one client.
enum Given {
    Yes,
    Gone,
    Full,
}

impl Fanout {
    pub(super) fn new(position: Position, limits: Limits) -> Self {
        Self { limits, position, ring: VecDeque::new(), seats: HashMap::new(), lapsed: HashMap::new() }
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    pub(super) fn clients(&self) -> usize {
        self.seats.len()
    }

    /// Whether a client is here, or may be back at once.
    pub(super) fn wanted(&self) -> bool {
        !self.seats.is_empty() || !self.lapsed.is_empty()
    }

    pub(super) fn ring(&self) -> usize {
        self.ring.len()
    }

    pub(super) fn leave(&mut self, client: u64) {
        self.seats.remove(&client);
        self.lapsed.remove(&client);
    }

    /// Takes a client in, unless it is too far behind: then it reads the table and comes again.
    pub(super) fn join(
        &mut self,
        filter: EventFilter,
        after: Option<Position>,
        ticket: &Arc<Ticket>,
    ) -> Joined {
        let after = after.unwrap_or(self.position);
        // A client leaves by its number; one that joins again takes its old place.
        self.leave(ticket.id());
        let missed: Vec<_> = self.missed(after).filter(|packet| filter.wants(&packet.entry.event)).collect();
        let oldest = self.ring.front().map_or(self.position, |packet| Position(packet.position().0 - 1));
        // Half of the buffer stays free for what comes while the client reads this.
        if after < oldest || missed.len() > self.limits.buffer / 2 {
            return Joined::Behind;
        }
        let (buffer, packets) = mpsc::channel(self.limits.buffer.max(1));
        let missed: Vec<_> = missed.into_iter().cloned().collect();
        for packet in missed {
            let _room_was_counted = buffer.try_send(packet);
        }
        self.seats.insert(ticket.id(), Seat { filter, after, ticket: Arc::clone(ticket), buffer });
        Joined::Live { packets, from: after }
    }

    fn missed(&self, after: Position) -> impl Iterator<Item = &Arc<Packet>> {
        let newest = self.position.0 - after.0;
        let count = usize::try_from(newest).unwrap_or_default().min(self.ring.len());
        self.ring.range(self.ring.len() - count..)
    }

    /// Shows one event to everyone who wants it.
    pub(super) fn show(&mut self, entry: Entry) {
        if entry.position <= self.position {
            return;
        }
        self.position = entry.position;
        let packet = Arc::new(Packet { entry, json: OnceLock::new() });
        let lapsed = &mut self.lapsed;
        self.seats.retain(|client, seat| match seat.give(&packet) {
            Given::Yes => true,
            Given::Gone => false,
            Given::Full => {
                lapsed.insert(*client, (Arc::clone(&seat.ticket), Instant::now()));
                false
            }
        });
        if self.ring.len() >= self.limits.ring.max(1) {
            self.ring.pop_front();
        }
        self.ring.push_back(packet);
    }

    /// Closes the clients that let their grace pass.
    pub(super) fn close_idle(&mut self, now: Instant) {
        let grace = self.limits.grace;
        self.lapsed.retain(|_, (ticket, since)| {
            let stays = now.duration_since(*since) < grace;
            if !stays {
                telemetry::hub_slow_client();
                ticket.close("slow");
            }
            stays
        });
    }

    /// Closes every client.
    pub(super) fn close(&mut self, reason: &'static str) {
        let seats = self.seats.drain().map(|(_, seat)| seat.ticket);
        let lapsed = self.lapsed.drain().map(|(_, (ticket, _))| ticket);
        seats.chain(lapsed).for_each(|ticket| ticket.close(reason));
    }
}

impl Seat {
    fn give(&self, packet: &Arc<Packet>) -> Given {
        if packet.position() <= self.after || !self.filter.wants(&packet.entry.event) {
            return Given::Yes;
        }
        match self.buffer.try_send(Arc::clone(packet)) {
            Ok(()) => Given::Yes,
            Err(TrySendError::Closed(_)) => Given::Gone,
            Err(TrySendError::Full(_)) => Given::Full,
        }
    }
}
