//! A world for the tests of relay, consumer and hub: tables and streams in memory, with faults at every port call.
//!
//! The tables are a model, not SQLite, so that time can be paused and a seed decides everything.

mod faults;
mod model;
mod no_people;
mod on_sqlite;
mod simulation;
mod stream;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ractor::{Actor, ActorRef};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub(crate) use faults::{Faults, Rng};
pub(crate) use model::Model;
pub(crate) use stream::Wobbly;

use super::archive::{self, Archive, Queries};
use super::consumer::{self, Consumer, Consumers};
use super::handler::{Delivery, Failure, Handler};
use super::ledger::{self, Ledger, Ledgers};
use super::relay::{self, Relay, Relays};
use crate::domain::event::{Event, Log};
use crate::domain::ids::{Epoch, EventId, Fence, Position, SessionId, Shard, TenantId};
use crate::domain::now;
use crate::infra::store::Store;
use crate::infra::stream::{Stream, StreamKey};

pub(crate) const SHARD: Shard = Shard(0);
pub(crate) const DOMAIN: StreamKey = StreamKey { shard: SHARD, log: Log::DomainEvents };

/// An event without a position.
pub(crate) fn event(session: SessionId, seq: i64) -> Event {
    Event {
        event_id: EventId::new(),
        kind: "message.received".into(),
        version: 1,
        tenant_id: TenantId::DEFAULT,
        session_id: Some(session),
        seq,
        position: Position::default(),
        occurred_at: now(),
        data: (&serde_json::json!({ "seq": seq })).into(),
    }
}

/// Waits for a condition, at most ten minutes of (paused) time.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(600);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) struct World {
    pub(crate) faults: Arc<Faults>,
    pub(crate) store: Arc<Model>,
    pub(crate) stream: Arc<Wobbly>,
    pub(crate) ledgers: Ledgers,
    pub(crate) queries: Queries,
    pub(crate) relays: Relays,
    pub(crate) consumers: Consumers,
    pub(crate) epoch: AtomicUsize,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::seeded(0).await
    }

    pub(crate) async fn seeded(seed: u64) -> Self {
        let faults = Arc::new(Faults::new(seed));
        let store = Arc::new(Model::new(Arc::clone(&faults)));
        let ledgers = Ledgers::new(10_000);
        let (relays, consumers) = (Relays::new(1), Consumers::default());
        let ledger = ledger::Arguments {
            store: Arc::clone(&store) as Arc<dyn Store>,
            relays: relays.clone(),
            consumers: consumers.clone(),
            ledgers: ledgers.clone(),
        };
        ledgers.attach(Actor::spawn(None, Ledger, ledger).await.unwrap().0);
        let queries = Queries::new(100);
        let archive = archive::Arguments { store: Arc::clone(&store) as Arc<dyn Store> };
        queries.attach(Actor::spawn(None, Archive, archive).await.unwrap().0);
        Self {
            stream: Arc::new(Wobbly::new(Arc::clone(&faults))),
            faults,
            store,
            ledgers,
            queries,
            relays,
            consumers,
            epoch: AtomicUsize::new(1),
        }
    }

    pub(crate) fn fence(&self) -> Fence {
        Fence { shard: SHARD, epoch: Epoch(i64::try_from(self.epoch.load(Ordering::SeqCst)).unwrap()) }
    }

    /// Somebody else owns the shard from now on.
    pub(crate) fn take_over(&self) {
        let epoch = self.epoch.fetch_add(1, Ordering::SeqCst) + 1;
        self.store.set_epoch(Epoch(i64::try_from(epoch).unwrap()));
    }

    /// Commits `count` events of each session, and wakes nobody.
    pub(crate) fn commit(&self, sessions: &[SessionId], count: usize) {
        for _ in 0..count {
            for session in sessions {
                self.store.emit(Log::DomainEvents, *session);
            }
        }
    }

    pub(crate) async fn relay(&self) -> (ActorRef<relay::Msg>, JoinHandle<()>) {
        let args = relay::Arguments {
            fence: self.fence(),
            relays: self.relays.clone(),
            ledgers: self.ledgers.clone(),
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            stream: Arc::clone(&self.stream) as Arc<dyn Stream>,
            // Everything stays, so that tests can count it.
            settings: relay::Settings { keep: usize::MAX, ..relay::Settings::default() },
        };
        Actor::spawn(None, Relay, args).await.unwrap()
    }

    pub(crate) async fn consumer(
        &self,
        handler: Arc<dyn Handler>,
        settings: consumer::Settings,
    ) -> (ActorRef<consumer::Msg>, JoinHandle<()>) {
        let args = consumer::Arguments {
            fence: self.fence(),
            group: "group".into(),
            log: Log::DomainEvents,
            handler,
            ledgers: self.ledgers.clone(),
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            stream: Arc::clone(&self.stream) as Arc<dyn Stream>,
            consumers: self.consumers.clone(),
            settings,
        };
        Actor::spawn(None, Consumer, args).await.unwrap()
    }

    /// Everything in the stream, from its beginning.
    pub(crate) async fn published(&self) -> Vec<Event> {
        let inner = self.stream.inner();
        let mut all: Vec<Event> = Vec::new();
        loop {
            let after = all.last().map(|event| event.position).unwrap_or_default();
            let more = inner.read_from(DOMAIN, after, 1000, Duration::ZERO).await.unwrap().unwrap();
            if more.is_empty() {
                return all;
            }
            all.extend(more.into_iter().map(|entry| (*entry.event).clone()));
        }
    }

    /// The stream is the table: nothing lost, repeated or out of order.
    pub(crate) async fn assert_published(&self) {
        let stored = self.store.numbered(Log::DomainEvents);
        let published = self.published().await;
        assert_eq!(published.len(), stored.len(), "lost or repeated");
        for (n, (there, here)) in published.iter().zip(&stored).enumerate() {
            assert_eq!(there.event_id, here.event_id);
            assert_eq!(there.position, Position::default().plus(n + 1), "a gap");
        }
    }
}

/// A handler made of a function.
pub(crate) struct Script<F>(pub(crate) F);

#[async_trait]
impl<F, Fut> Handler for Script<F>
where
    F: Fn(Delivery) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send,
{
    async fn handle(&self, delivery: &Delivery) -> Result<(), Failure> {
        (self.0)(delivery.clone()).await
    }
}
