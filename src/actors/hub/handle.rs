//! The way to the hub, for whoever serves a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::{Join, Msg, Packet, Status};
use crate::domain::error::{Error, Result};
use crate::domain::ids::{Position, Shard};
use crate::domain::view::EventFilter;

/// How long the hub may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// How much a hub holds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Clients at once.
    pub clients: usize,
    /// Events waiting for a client; when there are more it has to catch up from the ring or the table.
    pub buffer: usize,
    /// How long a client whose buffer is full may read nothing before it is closed.
    pub grace: Duration,
    /// Recent events kept for clients that come back.
    pub ring: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { clients: 4096, buffer: 256, grace: Duration::from_secs(5), ring: 4096 }
    }
}

/// The way to the hub; cheap to clone, and outlives restarts of the actor.
#[derive(Clone)]
pub struct Hub {
    shard: Shard,
    limits: Limits,
    slot: Arc<arc_swap::ArcSwapOption<ActorRef<Msg>>>,
    places: Arc<Semaphore>,
    next: Arc<AtomicU64>,
}

/// How a join ended.
pub(crate) enum Joined {
    /// Events come as they happen.
    Live {
        /// The client's buffer.
        packets: mpsc::Receiver<Arc<Packet>>,
        /// Everything above this will come.
        from: Position,
    },
    /// The client is too far behind: it reads the table first.
    Behind,
}

/// A client's number, and its alarm: the hub closes it.
pub(crate) struct Ticket {
    id: u64,
    closed: watch::Sender<Option<&'static str>>,
}

impl Ticket {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn close(&self, reason: &'static str) {
        self.closed.send_if_modified(|closed| closed.replace(reason).is_none());
    }

    pub(crate) fn closed(&self) -> Option<&'static str> {
        *self.closed.borrow()
    }

    pub(crate) fn alarm(&self) -> Alarm {
        Alarm(self.closed.subscribe())
    }
}

/// Tells when a client is being closed, also while it is stuck in a write.
#[derive(Clone)]
pub struct Alarm(watch::Receiver<Option<&'static str>>);

impl Alarm {
    /// Waits until the client is closed, and says why. Ends too when the client's subscription is gone.
    pub async fn raised(&mut self) -> &'static str {
        match self.0.wait_for(Option::is_some).await {
            Ok(reason) => reason.unwrap_or("closed"),
            Err(_gone) => "closed",
        }
    }
}

impl Hub {
    /// A way to the hub of a shard that is yet to start.
    #[must_use]
    pub fn new(shard: Shard, limits: Limits) -> Self {
        let places = limits.clients.min(Semaphore::MAX_PERMITS);
        Self {
            shard,
            limits,
            slot: Arc::default(),
            places: Arc::new(Semaphore::new(places)),
            next: Arc::default(),
        }
    }

    /// Whose events it shows.
    #[must_use]
    pub fn shard(&self) -> Shard {
        self.shard
    }

    /// How the hub is.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer.
    pub async fn status(&self) -> Result<Status> {
        self.ask(Msg::Status).await
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn attach(&self, actor: ActorRef<Msg>) {
        self.slot.store(Some(Arc::new(actor)));
    }

    /// A number for one more client, and its place among the allowed ones.
    pub(crate) fn ticket(&self) -> Result<(Arc<Ticket>, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place =
            place.map_err(|_full| Error::busy("too_many_clients", "too many clients follow events"))?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        Ok((Arc::new(Ticket { id, closed: watch::Sender::new(None) }), place))
    }

    /// Asks for events above `after`, or from now on.
    pub(crate) async fn join(
        &self,
        filter: &EventFilter,
        after: Option<Position>,
        ticket: &Arc<Ticket>,
    ) -> Result<Joined> {
        let (filter, ticket) = (filter.clone(), Arc::clone(ticket));
        self.ask(|reply| Msg::Join(Join { filter, after, ticket, reply })).await?
    }

    pub(crate) fn leave(&self, ticket: &Ticket) {
        if let Some(actor) = &*self.slot.load() {
            // A hub that is gone has no clients.
            let _hub_gone = actor.cast(Msg::Leave(ticket.id));
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        message: impl FnOnce(ractor::RpcReplyPort<T>) -> Msg,
    ) -> Result<T> {
        let gone = || Error::unavailable("hub_gone", "the hub is restarting");
        let actor = self.slot.load_full().ok_or_else(gone)?;
        let (sender, receiver) = ractor::concurrency::oneshot();
        actor.cast(message(sender.into())).map_err(|_stopped| gone())?;
        let late = |_elapsed| Error::unavailable("hub_late", "the hub did not answer in time");
        tokio::time::timeout(ANSWER, receiver).await.map_err(late)?.map_err(|_dropped| gone())
    }
}
