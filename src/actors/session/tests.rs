//! A session over SQLite, with links that end as they are told and do not close.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ractor::{Actor, ActorRef};
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
use crate::infra::gateway::{Account, Gateway, Link, LinkEnd, REPLACED, Sink};
use crate::infra::store::sqlite::SqliteStore;

const SOON: Duration = Duration::from_secs(60);

/// How many sockets are open, and how the next links end; one without an end stays.
#[derive(Clone, Default)]
struct Sockets(Arc<AtomicUsize>, Arc<Mutex<VecDeque<LinkEnd>>>);

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

impl Sockets {
    /// So many links are to end because another login takes their place.
    fn end_next(&self, count: usize) {
        let replaced = || LinkEnd::Fatal { reason: REPLACED.into() };
        self.1.lock().unwrap().extend(std::iter::repeat_with(replaced).take(count));
    }

    async fn all_ended(&self) {
        let there = async {
            while !self.1.lock().unwrap().is_empty() {
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
        let end = self.1.lock().unwrap().pop_front();
        match end {
            Some(end) => end,
            None => std::future::pending().await,
        }
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

/// A session that is to have a link, and what it needs.
struct Rig {
    _folder: tempfile::TempDir,
    setup: Setup,
    id: SessionId,
    fence: Fence,
    sockets: Sockets,
}

async fn rig() -> Rig {
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
    Rig { _folder: folder, setup, id, fence: Fence { shard: Shard(0), epoch }, sockets }
}

impl Rig {
    /// Starts its actor below a supervisor.
    async fn start(&self) -> ActorRef<supervisor::Msg> {
        let session = child(self.id, self.fence, &self.setup);
        Actor::spawn(None, Supervisor, (Policy::park(), vec![session])).await.unwrap().0
    }

    async fn until(&self, state: SessionState) {
        let there = async {
            while self.setup.store.owned_session(self.id).await.unwrap().unwrap().state != state {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, there).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_must_end_now_leaves_no_socket_that_is_still_closing() {
    let rig = rig().await;
    let above = rig.start().await;
    rig.sockets.until(1).await;

    // As when a lease is lost: a moment for order, then by force.
    let told = Instant::now();
    assert!(supervisor::shutdown(&above, Duration::from_millis(200)).await);
    rig.sockets.until(0).await;
    assert!(told.elapsed() < link::CLOSE_WITHIN / 4, "only after {:?}", told.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_taken_over_stands_up_to_one_login_of_its_owner_before_and_not_to_a_second() {
    let rig = rig().await;
    let above = rig.start().await;
    rig.sockets.until(1).await;
    assert!(supervisor::shutdown(&above, Duration::from_millis(200)).await);
    rig.sockets.end_next(1);
    let above = rig.start().await;
    rig.sockets.all_ended().await;
    rig.sockets.until(1).await;
    assert!(supervisor::shutdown(&above, Duration::from_millis(200)).await);
    rig.sockets.end_next(2);
    let _above = rig.start().await;
    rig.until(SessionState::Failed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_nobody_had_before_gives_way_at_once() {
    let rig = rig().await;
    rig.sockets.end_next(1);
    let _above = rig.start().await;
    rig.until(SessionState::Failed).await;
}
