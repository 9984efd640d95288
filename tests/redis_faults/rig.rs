//! Real tables, a real Redis, and the actors between them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ractor::{Actor, ActorRef};
use recado::actors::consumer::{self, Consumer, Consumers};
use recado::actors::handler::{Delivery, Failure, Handler};
use recado::actors::ledger::{self, Ledger, Ledgers};
use recado::actors::relay::{self, Relay, Relays, prepare};
use recado::domain::command::CommandType;
use recado::domain::content::Content;
use recado::domain::event::{Entry, Log};
use recado::domain::ids::{
    CommandId, EventId, Fence, MessageId, Position, SessionId, Shard, Subject, TenantId, WaId,
};
use recado::domain::now;
use recado::domain::session::Endpoint;
use recado::domain::write::{Accept, CreateSession, NewMessage, Outcome, TakeLease, Write};
use recado::infra::store::Store;
use recado::infra::store::sqlite::SqliteStore;
use recado::infra::stream::redis::{RedisStream, Settings};
use recado::infra::stream::{Stream, StreamKey};
use tokio::time::{Instant, sleep};

use crate::servers::redis::{Redis, apart, open};

pub const SHARD: Shard = Shard(0);
pub const EVENTS: StreamKey = StreamKey { shard: SHARD, log: Log::DomainEvents };
pub const GROUP: &str = "sink";
pub const SOON: Duration = Duration::from_secs(60);

/// Everything behind one stream.
pub struct Rig {
    pub redis: Arc<Redis>,
    pub settings: Settings,
    pub store: Arc<SqliteStore>,
    pub stream: Arc<RedisStream>,
    pub node: Node,
    pub sessions: Vec<SessionId>,
    _folder: tempfile::TempDir,
}

/// One node's way to write.
#[derive(Clone)]
pub struct Node {
    pub ledgers: Ledgers,
    pub relays: Relays,
    pub consumers: Consumers,
}

impl Node {
    pub fn new() -> Self {
        Self { ledgers: Ledgers::new(10_000), relays: Relays::new(1), consumers: Consumers::default() }
    }

    pub async fn start_ledger(&self, store: &Arc<SqliteStore>) {
        let args = ledger::Arguments {
            store: Arc::clone(store) as Arc<dyn Store>,
            relays: self.relays.clone(),
            consumers: self.consumers.clone(),
            ledgers: self.ledgers.clone(),
        };
        self.ledgers.attach(Actor::spawn(None, Ledger, args).await.unwrap().0);
    }
}

impl Rig {
    pub async fn new(redis: Redis, sessions: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("recado.db")).await.unwrap());
        let settings = Settings { deadline: Duration::from_secs(2), ..apart() };
        let stream = Arc::new(open(&redis.url(), settings.clone()));
        let node = Node::new();
        node.start_ledger(&store).await;
        let sessions: Vec<SessionId> = (0..sessions).map(|_| SessionId::new()).collect();
        for session in &sessions {
            let create = CreateSession {
                tenant: TenantId::DEFAULT,
                session: *session,
                shard: SHARD,
                name: None,
                endpoint: Endpoint::Whatsapp {},
                start: None,
                response: serde_json::json!({}),
                idempotency: None,
                at: now(),
                limit: i64::MAX,
                audit: None,
            };
            node.ledgers.write(Write::CreateSession(create)).await.unwrap();
        }
        Self { redis: Arc::new(redis), settings, store, stream, node, sessions, _folder: folder }
    }

    /// Wins the shard from whoever had it.
    pub async fn take(&self) -> Fence {
        let lease = TakeLease {
            shard: SHARD,
            node: uuid::Uuid::now_v7().to_string(),
            address: String::new(),
            held: None,
            at: now(),
            ttl: Duration::ZERO,
        };
        let Outcome::Lease(Some(epoch)) = self.node.ledgers.write(Write::TakeLease(lease)).await.unwrap()
        else {
            panic!("the lease is not to be had");
        };
        Fence { shard: SHARD, epoch }
    }

    pub async fn relay(&self, fence: Fence, node: &Node, poll: Duration) -> ActorRef<relay::Msg> {
        let args = relay::Arguments {
            fence,
            relays: node.relays.clone(),
            ledgers: node.ledgers.clone(),
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            stream: Arc::clone(&self.stream) as Arc<dyn Stream>,
            // Everything stays, so that it can be counted.
            settings: relay::Settings { keep: usize::MAX, batch: 100, poll, ..relay::Settings::default() },
        };
        Actor::spawn(None, Relay, args).await.unwrap().0
    }

    pub async fn consumer(&self, fence: Fence, handler: Arc<dyn Handler>) -> ActorRef<consumer::Msg> {
        let args = consumer::Arguments {
            fence,
            group: GROUP.into(),
            log: Log::DomainEvents,
            handler,
            ledgers: self.node.ledgers.clone(),
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            stream: Arc::clone(&self.stream) as Arc<dyn Stream>,
            consumers: self.node.consumers.clone(),
            settings: consumer::Settings { poll: Duration::from_secs(1), ..consumer::Settings::default() },
        };
        Actor::spawn(None, Consumer, args).await.unwrap().0
    }

    /// Relay and consumer, as a shard starts them.
    pub async fn shard(&self) -> Arc<Sink> {
        let fence = self.take().await;
        prepare(&*self.store, &*self.stream, SHARD, &[(Log::DomainEvents, GROUP)]).await.unwrap();
        self.relay(fence, &self.node, relay::Settings::default().poll).await;
        let sink = Arc::new(Sink::default());
        self.consumer(fence, sink.clone()).await;
        sink
    }

    /// One message of each session, `rounds` times.
    pub async fn send(&self, rounds: usize) {
        for _ in 0..rounds {
            let writes = self.sessions.iter().map(|session| self.node.ledgers.write(accept(*session)));
            for answer in futures_util::future::join_all(writes).await {
                answer.unwrap();
            }
        }
    }

    /// Everything in the table.
    pub async fn stored(&self, log: Log) -> Vec<Entry> {
        self.store.log_after(SHARD, log, Position(0), 1_000_000).await.unwrap()
    }

    /// Waits until the stream has all there is and the group has handled it. How long that took.
    pub async fn settled(&self) -> Duration {
        let (asked, deadline) = (Instant::now(), Instant::now() + SOON);
        loop {
            let head = self.store.head(SHARD, Log::DomainEvents).await.unwrap();
            let cursor = self.store.group(SHARD, Log::DomainEvents, GROUP).await.unwrap().cursor;
            let tail = self.stream.tail(EVENTS).await;
            if head.unstamped == 0 && cursor == head.head && tail.clone().ok() == Some(head.head) {
                return asked.elapsed();
            }
            let late = Instant::now() >= deadline;
            assert!(!late, "not settled: {head:?}, cursor {cursor}, tail {tail:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The figures, each of which must be 0 but the first.
    pub async fn count(&self, sink: &Sink) -> Figures {
        let stored = self.stored(Log::DomainEvents).await;
        let read = self.stream.read_from(EVENTS, Position(0), 1_000_000, Duration::ZERO).await.unwrap();
        let published = read.expect("nothing was trimmed");
        let mut copies: HashMap<EventId, usize> = HashMap::new();
        for entry in &published {
            *copies.entry(entry.event.event_id).or_default() += 1;
        }
        let lost = |entry: &&Entry| !copies.contains_key(&entry.event.event_id);
        let in_order =
            published.iter().enumerate().filter(|(n, entry)| entry.position == Position(0).plus(n + 1));
        let effects = sink.effects.lock().unwrap();
        let undone = |entry: &&Entry| !effects.times.contains_key(&entry.event.event_id);
        Figures {
            committed: stored.len(),
            lost: stored.iter().filter(lost).count(),
            duplicates: copies.values().map(|times| times - 1).sum(),
            order: published.len() - in_order.count(),
            effects_missing: stored.iter().filter(undone).count(),
            effects_repeated: effects.times.values().map(|times| times - 1).sum(),
            effects_out_of_order: effects.out_of_order,
        }
    }
}

/// What is counted at the end.
#[derive(Debug, PartialEq, Eq)]
pub struct Figures {
    pub committed: usize,
    pub lost: usize,
    pub duplicates: usize,
    pub order: usize,
    pub effects_missing: usize,
    pub effects_repeated: usize,
    pub effects_out_of_order: usize,
}

impl Figures {
    pub fn assert(&self, least: usize) {
        let Self { committed, .. } = *self;
        let good = Self {
            committed,
            lost: 0,
            duplicates: 0,
            order: 0,
            effects_missing: 0,
            effects_repeated: 0,
            effects_out_of_order: 0,
        };
        assert_eq!(*self, good);
        assert!(committed >= least, "only {committed} were committed");
    }
}

/// Counts its effects.
#[derive(Default)]
pub struct Sink {
    pub effects: Mutex<Effects>,
}

#[derive(Default)]
pub struct Effects {
    pub times: HashMap<EventId, usize>,
    seqs: HashMap<Subject, i64>,
    pub out_of_order: usize,
}

#[async_trait]
impl Handler for Sink {
    async fn handle(&self, delivery: &Delivery) -> Result<(), Failure> {
        let mut effects = self.effects.lock().unwrap();
        for entry in &delivery.entries {
            *effects.times.entry(entry.event.event_id).or_default() += 1;
            let last = effects.seqs.insert(entry.event.subject(), entry.event.seq).unwrap_or_default();
            effects.out_of_order += usize::from(entry.event.seq != last + 1);
        }
        Ok(())
    }
}

fn accept(session: SessionId) -> Write {
    let id = MessageId::new();
    let message = NewMessage {
        id,
        wa_id: WaId::of(id),
        to: "15550100199".parse().unwrap(),
        content: Content::Text { text: "hola".into(), reply_to: None },
        deadline: now().after(Duration::from_secs(3600)),
    };
    Write::Accept(Accept {
        tenant: TenantId::DEFAULT,
        session,
        shard: SHARD,
        command: CommandId::new(),
        kind: CommandType::SendMessage,
        message: Some(message),
        response: serde_json::json!({}),
        idempotency: None,
        at: now(),
        queue_limit: i64::MAX,
        audit: None,
    })
}

/// A connection that knows nothing of ours.
pub async fn outsider(url: &str) -> redis::aio::MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// Waits for a condition.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
