//! The same promises on the real tables, in real time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorRef};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{DOMAIN, Delivery, Failure, Faults, SHARD, Script, Wobbly};
use crate::actors::consumer::{self, Consumer, Consumers, Settings};
use crate::actors::ledger::{self, Ledger, Ledgers};
use crate::actors::relay::{self, Relay, Relays, prepare};
use crate::domain::event::{Entry, Log};
use crate::domain::ids::{EventId, Fence, Position, SessionId, TenantId};
use crate::domain::now;
use crate::domain::retry::{Retries, Schedule};
use crate::domain::session::Endpoint;
use crate::domain::view::PageRequest;
use crate::domain::write::{CreateSession, Outcome, Redrive, TakeLease, Write};
use crate::infra::store::Store;
use crate::infra::store::sqlite::SqliteStore;
use crate::infra::stream::Stream;

const SOON: Duration = Duration::from_secs(60);

struct Tables {
    store: Arc<SqliteStore>,
    stream: Arc<Wobbly>,
    ledgers: Ledgers,
    relays: Relays,
    consumers: Consumers,
    _folder: tempfile::TempDir,
}

impl Tables {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("recado.db")).await.unwrap());
        let (ledgers, relays, consumers) = (Ledgers::new(10_000), Relays::new(1), Consumers::default());
        let args = ledger::Arguments {
            store: Arc::clone(&store) as Arc<dyn Store>,
            relays: relays.clone(),
            consumers: consumers.clone(),
            ledgers: ledgers.clone(),
        };
        ledgers.attach(Actor::spawn(None, Ledger, args).await.unwrap().0);
        let stream = Arc::new(Wobbly::new(Arc::new(Faults::new(0))));
        Self { store, stream, ledgers, relays, consumers, _folder: folder }
    }

    /// Wins the shard from whoever had it.
    async fn take(&self) -> Fence {
        let lease = TakeLease {
            shard: SHARD,
            node: uuid::Uuid::now_v7().to_string(),
            address: String::new(),
            held: None,
            // The last owner's lease has run out by then.
            at: now(),
            ttl: Duration::ZERO,
        };
        let Outcome::Lease(Some(epoch)) = self.ledgers.write(Write::TakeLease(lease)).await.unwrap() else {
            panic!("the lease is not to be had");
        };
        Fence { shard: SHARD, epoch }
    }

    /// Commits one event of each of `count` new sessions.
    async fn commit(&self, count: usize) {
        let create = |_| {
            self.ledgers.write(Write::CreateSession(CreateSession {
                tenant: TenantId::DEFAULT,
                session: SessionId::new(),
                shard: SHARD,
                name: None,
                endpoint: Endpoint::Whatsapp {},
                start: None,
                response: serde_json::json!({}),
                idempotency: None,
                at: now(),
                limit: i64::MAX,
                audit: None,
            }))
        };
        for answer in futures_util::future::join_all((0..count).map(create)).await {
            answer.unwrap();
        }
    }

    async fn relay(&self, fence: Fence) -> (ActorRef<relay::Msg>, JoinHandle<()>) {
        let args = relay::Arguments {
            fence,
            relays: self.relays.clone(),
            ledgers: self.ledgers.clone(),
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            stream: Arc::clone(&self.stream) as Arc<dyn Stream>,
            settings: relay::Settings { batch: 100, keep: usize::MAX, ..relay::Settings::default() },
        };
        Actor::spawn(None, Relay, args).await.unwrap()
    }

    async fn published(&self) -> Vec<Entry> {
        let stream = self.stream.inner();
        stream.read_from(DOMAIN, Position(0), 100_000, Duration::ZERO).await.unwrap().unwrap()
    }

    /// Waits until the stream is the table, entry by entry.
    async fn assert_published(&self, count: usize) {
        let deadline = Instant::now() + SOON;
        while self.published().await.len() < count {
            assert!(Instant::now() < deadline, "{} of {count} published", self.published().await.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let published = self.published().await;
        let stored = self.store.log_after(SHARD, Log::DomainEvents, Position(0), 100_000).await.unwrap();
        assert_eq!((published.len(), stored.len()), (count, count));
        for (n, (there, here)) in published.iter().zip(&stored).enumerate() {
            assert_eq!((there.position, &there.event), (Position(0).plus(n + 1), &here.event));
        }
    }
}

#[tokio::test]
async fn on_sqlite_relays_that_die_are_late_or_stale_lose_and_repeat_nothing() {
    let tables = Tables::new().await;
    let mut count = 0;
    for _ in 0..5 {
        let fence = tables.take().await;
        tables.commit(250).await;
        count += 250;
        tables.stream.hang_after_append();
        let (relay, end) = tables.relay(fence).await;
        timeout(SOON, tables.stream.hanging.notified()).await.unwrap();
        relay.kill();
        timeout(SOON, end).await.unwrap().unwrap();
        tables.stream.lose_everything();
    }
    let stale = tables.take().await;
    let owner = tables.take().await;
    tables.commit(50).await;
    count += 50;
    let (_stale, end) = tables.relay(stale).await;
    timeout(SOON, end).await.unwrap().unwrap();
    let head = tables.store.head(SHARD, Log::DomainEvents).await.unwrap();
    assert!(head.unstamped >= 50, "the stale relay numbered rows");
    let _owner = tables.relay(owner).await;
    tables.assert_published(count).await;
    // The Ledger wakes the relay: no poll is needed.
    let committed = Instant::now();
    tables.commit(1).await;
    tables.assert_published(count + 1).await;
    assert!(committed.elapsed() < relay::Settings::default().poll, "{:?}", committed.elapsed());
}

#[allow(clippy::too_many_lines, reason = "one story, told in order")]
#[tokio::test]
async fn on_sqlite_a_consumer_that_dies_repeats_nothing_recorded_and_buries_and_redrives() {
    let tables = Tables::new().await;
    let fence = tables.take().await;
    tables.commit(1000).await;
    prepare(&*tables.store, &*tables.stream, SHARD, &[(Log::DomainEvents, "group")]).await.unwrap();
    let _relay = tables.relay(fence).await;
    let effects: Arc<Mutex<HashMap<EventId, usize>>> = Arc::default();
    let broken = Arc::new(Mutex::new(true));
    let start = || {
        let (effects, broken) = (Arc::clone(&effects), Arc::clone(&broken));
        let handler = Script(move |delivery: Delivery| {
            let fails =
                delivery.entries.iter().any(|entry| entry.position.0 % 100 == 7) && *broken.lock().unwrap();
            let effects = Arc::clone(&effects);
            async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                if fails {
                    return Err(Failure::Retry { error: "broken".into(), after: None });
                }
                for entry in &delivery.entries {
                    *effects.lock().unwrap().entry(entry.event.event_id).or_default() += 1;
                }
                Ok(())
            }
        });
        let soon = Schedule::exponential(Duration::from_millis(20), Duration::from_millis(50));
        let args = consumer::Arguments {
            fence,
            group: "group".into(),
            log: Log::DomainEvents,
            handler: Arc::new(handler),
            ledgers: tables.ledgers.clone(),
            store: Arc::clone(&tables.store) as Arc<dyn Store>,
            stream: Arc::clone(&tables.stream) as Arc<dyn Stream>,
            consumers: tables.consumers.clone(),
            settings: Settings {
                slots: 8,
                retries: Retries { tries: 3, schedule: soon },
                ..Settings::default()
            },
        };
        Actor::spawn(None, Consumer, args)
    };
    let deadline = Instant::now() + SOON;
    let letters = async || {
        let page = PageRequest { cursor: None, limit: 100, among: None };
        tables.store.dead_letters(TenantId::DEFAULT, Some("buried"), page).await.unwrap().items
    };
    while tables.store.group(SHARD, Log::DomainEvents, "group").await.unwrap().cursor < Position(1000) {
        assert!(Instant::now() < deadline);
        let (consumer, end) = start().await.unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
        consumer.stop(None);
        timeout(SOON, end).await.unwrap().unwrap();
    }
    assert_eq!(letters().await.len(), 10);
    assert_eq!(effects.lock().unwrap().len(), 990);
    assert!(effects.lock().unwrap().values().all(|count| *count == 1), "a recorded effect was repeated");
    *broken.lock().unwrap() = false;
    let _consumer = start().await.unwrap();
    for letter in letters().await {
        let redrive = Redrive {
            tenant: TenantId::DEFAULT,
            id: letter.dead_letter_id,
            response: serde_json::json!({}),
            idempotency: None,
            at: now(),
            audit: None,
        };
        tables.ledgers.write(Write::Redrive(redrive)).await.unwrap();
    }
    while effects.lock().unwrap().len() < 1000 || !letters().await.is_empty() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(effects.lock().unwrap().values().all(|count| *count == 1));
}
