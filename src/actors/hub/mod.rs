//! The hub of one shard: shows each event to the clients that want it, as it comes.
//!
//! Promises: a client gets every event it wants above its position, in order, once, or is closed with the position to
//! resume from; nothing is dropped silently. A client whose buffer is full catches up at its own pace; one that then reads
//! nothing for a while is closed. Neither delays any other. An event's JSON is made once, however many clients get it. Losing the stream costs nothing: what it does
//! not hold any more is read from the table. A hub without clients reads nothing.
//!
//! A hub follows one shard (the embedded default has one). With several shards there is one hub each, and a client
//! over all of them resumes from one position per shard.

mod fanout;
mod handle;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::time::Instant;

use self::fanout::Fanout;
use super::task::{ChildTask, Panicked, send_at, spawn_child};
use crate::domain::error::{Error, Result};
use crate::domain::event::{Entry, Log};
use crate::domain::ids::{Position, Shard};
use crate::domain::retry::Schedule;
use crate::domain::view::EventFilter;
use crate::infra::store::Store;
use crate::infra::stream::{Stream, StreamKey};
use crate::telemetry;

pub(crate) use self::fanout::Packet;
pub use self::handle::{Alarm, Hub, Limits};
pub(crate) use self::handle::{Joined, Ticket};

/// The most events taken in at once.
const BATCH: usize = 512;

/// How long a read waits for something new.
const WAIT: Duration = Duration::from_secs(1);

/// How long a hub reads on without clients: one that comes back soon goes on from the ring.
const LINGER: Duration = Duration::from_secs(60);

/// The behaviour.
pub struct HubActor;

/// What it needs.
pub struct Arguments {
    /// Which shard, and where its clients come from; it attaches itself.
    pub hub: Hub,
    /// What the stream does not hold any more.
    pub store: Arc<dyn Store>,
    /// Where events come from.
    pub stream: Arc<dyn Stream>,
}

/// What it understands.
pub enum Msg {
    /// A client wants events.
    Join(Join),
    /// A client is gone.
    Leave(u64),
    /// How many clients, and how far.
    Status(RpcReplyPort<Status>),
    /// What it tells itself.
    Note(Note),
}

/// A client's wish; made by [`Hub`].
pub struct Join {
    filter: EventFilter,
    /// Everything above; from now on when absent.
    after: Option<Position>,
    ticket: Arc<Ticket>,
    reply: RpcReplyPort<Result<Joined>>,
}

/// What a hub tells itself; of no use to others.
pub struct Note(Inner);

enum Inner {
    /// Where to start.
    Started(Result<Result<Position>, Panicked>),
    /// More events, or none within the wait.
    Read(Result<Result<Vec<Entry>>, Panicked>),
    /// A pause after a failure is over.
    Resume,
}

/// How a hub is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Clients that get events as they come.
    pub clients: usize,
    /// The last event shown; none while the hub rests.
    pub position: Option<Position>,
    /// Events kept for clients that come back soon.
    pub ring: usize,
}

/// What it holds.
pub struct State {
    args: Arguments,
    /// Nothing while nobody is interested, and until it is known where the log stands.
    fanout: Option<Fanout>,
    /// They came before that was known. Bounded by the clients' places: who gave up is forgotten at the next.
    waiting: Vec<Join>,
    /// When a client was seen last.
    wanted: Instant,
    reading: Option<ChildTask>,
    failures: u32,
}

impl Actor for HubActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Arguments) -> Result<State, ActorProcessingErr> {
        args.hub.attach(myself);
        let (waiting, wanted) = (Vec::new(), Instant::now());
        Ok(State { args, fanout: None, waiting, wanted, reading: None, failures: 0 })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Join(join) => state.join(&myself, join),
            Msg::Leave(client) => {
                if let Some(fanout) = &mut state.fanout {
                    fanout.leave(client);
                }
            }
            Msg::Status(reply) => {
                let _asker_gone = reply.send(state.status());
            }
            Msg::Note(Note(inner)) => state.take(&myself, inner),
        }
        Ok(())
    }

    async fn post_stop(&self, _myself: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        if let Some(fanout) = &mut state.fanout {
            fanout.close("stopping");
        }
        Ok(())
    }
}

impl State {
    fn status(&self) -> Status {
        let fanout = self.fanout.as_ref();
        Status {
            clients: fanout.map_or(0, Fanout::clients),
            position: fanout.map(Fanout::position),
            ring: fanout.map_or(0, Fanout::ring),
        }
    }

    fn join(&mut self, myself: &ActorRef<Msg>, join: Join) {
        self.wanted = Instant::now();
        match &mut self.fanout {
            Some(fanout) => join.take_place(fanout),
            None => {
                self.waiting.retain(|join| !join.reply.is_closed());
                self.waiting.push(join);
                if self.reading.is_none() {
                    self.read(myself);
                }
            }
        }
    }

    fn take(&mut self, myself: &ActorRef<Msg>, inner: Inner) {
        self.reading = None;
        let outcome = match inner {
            Inner::Started(outcome) => flat(outcome).map(|head| {
                let fanout = self.fanout.insert(Fanout::new(head, self.args.hub.limits()));
                self.waiting.drain(..).for_each(|join| join.take_place(fanout));
            }),
            Inner::Read(outcome) => flat(outcome).map(|entries| self.show(entries)),
            Inner::Resume => Ok(()),
        };
        match outcome {
            Ok(()) if self.unwanted() => self.fanout = None,
            Ok(()) => self.read(myself),
            Err(error) => self.pause(myself, &error),
        }
    }

    /// Whether nobody has been interested for a while.
    fn unwanted(&mut self) -> bool {
        let now = Instant::now();
        if self.fanout.as_ref().is_some_and(Fanout::wanted) || !self.waiting.is_empty() {
            self.wanted = now;
        }
        now.duration_since(self.wanted) > LINGER
    }

    fn show(&mut self, entries: Vec<Entry>) {
        self.failures = 0;
        let Some(fanout) = &mut self.fanout else { return };
        let last = entries.last().map_or_else(|| fanout.position(), |entry| entry.position);
        telemetry::hub(self.args.hub.shard(), fanout.clients(), fanout.position(), last);
        entries.into_iter().for_each(|entry| fanout.show(entry));
        fanout.close_idle(Instant::now());
    }

    fn read(&mut self, myself: &ActorRef<Msg>) {
        let (store, shard) = (Arc::clone(&self.args.store), self.args.hub.shard());
        let Some(fanout) = &self.fanout else {
            // From the head of the table: a stream that is being refilled is behind it, and what it brings first is old.
            let work = async move { Ok(store.head(shard, Log::DomainEvents).await?.head) };
            let started = |outcome| Msg::Note(Note(Inner::Started(outcome)));
            self.reading = Some(spawn_child(myself, work, started));
            return;
        };
        let work = next(store, Arc::clone(&self.args.stream), shard, fanout.position());
        self.reading = Some(spawn_child(myself, work, |outcome| Msg::Note(Note(Inner::Read(outcome)))));
    }

    fn pause(&mut self, myself: &ActorRef<Msg>, error: &Error) {
        if self.failures == 0 {
            tracing::warn!(shard = %self.args.hub.shard(), %error, "the hub cannot read events; trying on");
        }
        let schedule = Schedule::exponential(Duration::from_millis(200), Duration::from_secs(5));
        let wait = schedule.delay(self.failures).max(Duration::from_millis(20));
        self.failures = self.failures.saturating_add(1);
        let starting = || Error::unavailable("hub_starting", "the hub is starting");
        for join in self.waiting.drain(..) {
            let _client_gone = join.reply.send(Err(starting()));
        }
        self.reading = Some(send_at(myself, Instant::now() + wait, || Msg::Note(Note(Inner::Resume))));
    }
}

/// Events above `after`, without a gap: from the stream, or from the table where the stream holds less.
async fn next(
    store: Arc<dyn Store>,
    stream: Arc<dyn Stream>,
    shard: Shard,
    after: Position,
) -> Result<Vec<Entry>> {
    let key = StreamKey { shard, log: Log::DomainEvents };
    let read = stream.read_from(key, after, BATCH, WAIT).await?;
    match read {
        Some(entries) if entries.first().is_none_or(|first| first.position == after.plus(1)) => Ok(entries),
        Some(_) | None => store.log_after(shard, Log::DomainEvents, after, BATCH).await,
    }
}

impl Join {
    /// A client that gave up meanwhile leaves by dropping what it is given.
    fn take_place(self, fanout: &mut Fanout) {
        let Self { filter, after, ticket, reply } = self;
        let _client_gone = reply.send(Ok(fanout.join(filter, after, &ticket)));
    }
}

fn flat<T>(outcome: Result<Result<T>, Panicked>) -> Result<T> {
    outcome.unwrap_or_else(|panicked| Err(Error::bug(panicked)))
}
