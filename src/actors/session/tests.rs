//! A session over SQLite, with a link that does not close.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ractor::Actor;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::actors::consumer::Consumers;
use crate::actors::ledger::{self, Ledger};
use crate::actors::relay::Relays;
use crate::actors::supervisor::{Policy, Supervisor};
use crate::domain::ids::{CommandId, Shard, TenantId};
use crate::domain::session::Endpoint;
use crate::domain::time::now;
use crate::domain::write::{CreateSession, NewMessage, Outcome, TakeLease, Write};
use crate::infra::gateway::{Account, Gateway, Link, LinkEnd, Sink};
use crate::infra::store::sqlite::SqliteStore;

const SOON: Duration = Duration::from_secs(60);

/// How many sockets are open.
#[derive(Clone, Default)]
struct Sockets(Arc<AtomicUsize>);

struct Socket(Arc<AtomicUsize>);

impl Sockets {
    fn open(&self) -> Socket {
        self.0.fetch_add(1, Ordering::SeqCst);
        Socket(self.0.clone())
    }

    async fn until(&self, count: usize) {
        let there = async {
            while self.0.load(Ordering::SeqCst) != count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, there).await.unwrap();
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Gateway for Sockets {
    async fn open(&self, _: Account, _: Arc<dyn Sink>) -> Result<Arc<dyn Link>> {
        Ok(Arc::new(self.clone()))
    }
}

/// Waits for a store that does not answer when it is to close.
#[async_trait]
impl Link for Sockets {
    async fn run(&self) -> LinkEnd {
        let _socket = self.open();
        std::future::pending().await
    }

    async fn send(&self, _: &NewMessage) -> Result<(), SendError> {
        Err(SendError::NotNow("never".into()))
    }

    async fn pairing_code(&self, _: &Address, _: Duration) -> Result<(String, Timestamp)> {
        Err(Error::unavailable("never", "never"))
    }

    async fn logout(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self, within: Duration) {
        sleep(within).await;
    }
}

async fn written(ledgers: &Ledgers, write: Write) -> Outcome {
    ledgers.write(write).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_must_end_now_leaves_no_socket_that_is_still_closing() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.path().join("recado.db")).await.unwrap());
    let ledgers = Ledgers::new(100);
    let args = ledger::Arguments {
        store: store.clone(),
        relays: Relays::new(1),
        consumers: Consumers::default(),
        ledgers: ledgers.clone(),
    };
    let (ledger, _) = Actor::spawn(None, Ledger, args).await.unwrap();
    ledgers.attach(ledger);
    let lease = TakeLease {
        shard: Shard(0),
        node: "test".into(),
        address: String::new(),
        held: None,
        at: now(),
        ttl: SOON,
    };
    let Outcome::Lease(Some(epoch)) = written(&ledgers, Write::TakeLease(lease)).await else {
        panic!("no lease")
    };
    let id = SessionId::new();
    let create = CreateSession {
        tenant: TenantId::DEFAULT,
        session: id,
        shard: Shard(0),
        name: None,
        endpoint: Endpoint::Whatsapp {},
        start: Some(CommandId::new()),
        response: serde_json::json!({}),
        idempotency: None,
        at: now(),
        limit: 10,
        audit: None,
    };
    written(&ledgers, Write::CreateSession(create)).await;
    let sockets = Sockets::default();
    let setup = Setup {
        ledgers,
        store,
        gateway: Arc::new(sockets.clone()),
        directory: Directory::new(1),
        reconnect: Schedule::steps([]),
        ack_within: SOON,
        linger: SOON,
        pacing: Rules::default(),
    };
    let session = child(id, Fence { shard: Shard(0), epoch }, &setup);
    let (above, _) = Actor::spawn(None, Supervisor, (Policy::park(), vec![session])).await.unwrap();
    sockets.until(1).await;

    // As when a lease is lost: a moment for order, then by force.
    let told = Instant::now();
    assert!(supervisor::shutdown(&above, Duration::from_millis(200)).await);
    sockets.until(0).await;
    assert!(told.elapsed() < link::CLOSE_WITHIN / 4, "only after {:?}", told.elapsed());
}
