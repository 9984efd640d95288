//! A gateway over SQLite, sandboxes, and sinks that remember.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the engine's enums grow; what we do not know is passed over on purpose"
)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use recado_sandbox::{Linked, Sandbox, SandboxConfig, ScanQr};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::counted::Counted;
use crate::domain::error::{Error, Result};
use crate::domain::ids::{Fence, SessionId, Shard, TenantId, WaId};
use crate::domain::session::Endpoint;
use crate::domain::time::now;
use crate::domain::write::{AuthWrite, CreateSession, InboundMessage, NewMessage, Outcome, TakeLease, Write};
use crate::infra::gateway::web::{AuthWriter, WebConfig, WebGateway};
use crate::infra::gateway::{Account, Gateway, Link, LinkEnd, LinkEvent, Sink};
use crate::infra::store::Store;
use crate::infra::store::sqlite::SqliteStore;
use crate::infra::vault::Vault;

/// Nothing here may take longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Writes one by one, as a Ledger with nobody else waiting would.
pub(super) struct Writer {
    pub(super) store: Arc<dyn Store>,
    /// How many writes to refuse from now on.
    pub(super) refuse: AtomicUsize,
    /// Whether writes get no answer.
    pub(super) hangs: AtomicBool,
    pub(super) writes: Mutex<Vec<AuthWrite>>,
}

#[async_trait]
impl AuthWriter for Writer {
    async fn write(&self, write: AuthWrite) -> Result<()> {
        let refused =
            self.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if refused.is_ok() {
            return Err(Error::unavailable("test", "the store is away"));
        }
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.writes.lock().unwrap().push(write.clone());
        self.store.commit([Write::Auth(write)].into()).await?.pop().unwrap().map(drop)
    }
}

/// One installation.
pub(super) struct Rig {
    pub(super) store: Arc<Counted>,
    pub(super) writer: Arc<Writer>,
    pub(super) gateway: Arc<WebGateway>,
    pub(super) fence: Fence,
    pub(super) vault: Arc<Vault>,
    _folder: TempDir,
}

impl Rig {
    pub(super) async fn new() -> Self {
        Self::with(WebConfig::default()).await
    }

    pub(super) async fn with(config: WebConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("recado.db")).await.unwrap();
        let store = Arc::new(Counted::new(store));
        let lease = TakeLease {
            shard: Shard(0),
            node: "test".into(),
            address: String::new(),
            held: None,
            at: now(),
            ttl: Duration::from_secs(3600),
        };
        let answer = store.commit([Write::TakeLease(lease)].into()).await.unwrap().remove(0).unwrap();
        let Outcome::Lease(Some(epoch)) = answer else { panic!("no lease: {answer:?}") };
        let writer = Arc::new(Writer {
            store: store.clone(),
            refuse: AtomicUsize::new(0),
            hangs: AtomicBool::new(false),
            writes: Mutex::default(),
        });
        let vault = Arc::new(Vault::new(&[7; 32]));
        let gateway = WebGateway::new(config, store.clone(), writer.clone(), vault.clone()).unwrap();
        Self { store, writer, gateway, fence: Fence { shard: Shard(0), epoch }, vault, _folder: folder }
    }

    /// A stored session at this endpoint.
    pub(super) async fn account(&self, endpoint: Endpoint) -> Account {
        let session = SessionId::new();
        let create = CreateSession {
            tenant: TenantId::DEFAULT,
            session,
            shard: self.fence.shard,
            name: None,
            endpoint: endpoint.clone(),
            start: None,
            response: serde_json::json!({}),
            idempotency: None,
            at: now(),
            limit: 100,
            audit: None,
        };
        self.store.commit([Write::CreateSession(create)].into()).await.unwrap().remove(0).unwrap();
        Account { tenant: TenantId::DEFAULT, session, fence: self.fence, endpoint }
    }

    /// A session that runs its link until it closes.
    pub(super) async fn start(&self, account: Account) -> Running {
        let ears = Ears::some();
        let link = self.gateway.open(account.clone(), ears.clone()).await.unwrap();
        Running::start(account, link, ears)
    }

    /// A session linked to an account of the sandbox.
    pub(super) async fn linked(&self, sandbox: &Sandbox) -> Running {
        let running = self.start(self.account(endpoint(sandbox)).await).await;
        running.scan(sandbox).await;
        running.ears.until("connected", |heard| heard.connected() > 0).await;
        running
    }
}

/// Where this sandbox is and whom to trust there.
pub(super) fn endpoint(sandbox: &Sandbox) -> Endpoint {
    let static_key = sandbox.static_key().iter().map(|byte| format!("{byte:02x}")).collect();
    Endpoint::Sandbox { url: sandbox.ws_url(), static_key }
}

pub(super) async fn sandbox() -> Sandbox {
    Sandbox::start(SandboxConfig::default()).await.unwrap()
}

/// All that a sink was told.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) events: Vec<LinkEvent>,
    pub(super) inbound: Vec<InboundMessage>,
    pub(super) ends: Vec<LinkEnd>,
}

impl Heard {
    pub(super) fn connected(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, LinkEvent::Connected { .. })).count()
    }

    pub(super) fn qr(&self) -> Option<String> {
        self.events.iter().rev().find_map(|event| match event {
            LinkEvent::Qr { code, .. } => Some(code.clone()),
            _ => None,
        })
    }
}

#[derive(Default)]
pub(super) struct Ears {
    heard: Mutex<Heard>,
    news: Notify,
    /// How many batches to refuse from now on.
    pub(super) refuses: AtomicUsize,
    pub(super) asked: AtomicUsize,
}

impl Ears {
    pub(super) fn some() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap()
    }

    /// Waits until it heard enough.
    pub(super) async fn until(&self, what: &str, enough: impl Fn(&Heard) -> bool) {
        let wait = async {
            loop {
                let news = self.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                if enough(&self.heard()) {
                    return;
                }
                news.await;
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            let heard = self.heard();
            panic!("never: {what}; heard {:?} {:?} {:?}", heard.events, heard.inbound, heard.ends);
        }
    }

    fn end(&self, end: LinkEnd) {
        self.heard().ends.push(end);
        self.news.notify_waiters();
    }
}

#[async_trait]
impl Sink for Ears {
    fn event(&self, event: LinkEvent) {
        self.heard().events.push(event);
        self.news.notify_waiters();
    }

    async fn inbound(&self, messages: Vec<InboundMessage>) -> Result<()> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.news.notify_waiters();
        let refused =
            self.refuses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if refused.is_ok() {
            return Err(Error::unavailable("test", "not now"));
        }
        self.heard().inbound.extend(messages);
        self.news.notify_waiters();
        Ok(())
    }

    async fn has(&self, id: &WaId) -> Result<bool> {
        Ok(self.heard().inbound.iter().any(|message| message.wa_id == *id))
    }
}

/// A link under way, reconnecting at once as a session would with backoff.
pub(super) struct Running {
    pub(super) account: Account,
    pub(super) link: Arc<dyn Link>,
    pub(super) ears: Arc<Ears>,
    task: JoinSet<()>,
}

impl Running {
    /// Ends whoever serves the link, without a goodbye.
    pub(super) fn kill(&mut self) {
        self.task.abort_all();
    }

    fn start(account: Account, link: Arc<dyn Link>, ears: Arc<Ears>) -> Self {
        let mut task = JoinSet::new();
        let (run, told) = (link.clone(), ears.clone());
        task.spawn(async move {
            loop {
                let end = run.run().await;
                let again = matches!(end, LinkEnd::Again | LinkEnd::Lost { .. });
                told.end(end.clone());
                match end {
                    LinkEnd::Lost { .. } => sleep(Duration::from_millis(50)).await,
                    _ if again => {}
                    _ => return,
                }
            }
        });
        Self { account, link, ears, task }
    }

    pub(super) async fn scan(&self, sandbox: &Sandbox) -> Linked {
        self.ears.until("a QR code", |heard| heard.qr().is_some()).await;
        let code = self.ears.heard().qr().unwrap();
        sandbox.scan_qr(&code, ScanQr { phone: None, name: None }).await.unwrap()
    }

    /// The number of the account.
    pub(super) fn phone(&self) -> String {
        let heard = self.ears.heard();
        let paired = heard.events.iter().rev().find_map(|event| match event {
            LinkEvent::Connected { pn: Some(pn), .. } | LinkEvent::Paired { pn, .. } => {
                Some(pn.user().to_owned())
            }
            _ => None,
        });
        paired.expect("connected with a number")
    }

    pub(super) async fn send(&self, to: &str, text: &str) -> WaId {
        let message = message(to, text, None);
        self.link.send(&message).await.unwrap();
        message.wa_id
    }

    /// Closes and waits for the end.
    pub(super) async fn close(mut self) -> Arc<Ears> {
        self.link.close(PATIENCE).await;
        timeout(PATIENCE, self.task.join_next()).await.expect("the link ends");
        self.ears
    }
}

pub(super) fn message(to: &str, text: &str, reply_to: Option<&str>) -> NewMessage {
    use crate::domain::content::Content;
    let id = crate::domain::ids::MessageId::new();
    NewMessage {
        id,
        wa_id: WaId::of(id),
        to: to.parse().unwrap(),
        content: Content::Text { text: text.to_owned(), reply_to: reply_to.map(str::to_owned) },
        deadline: now().after(PATIENCE),
    }
}

/// Waits for something that has no signal.
pub(super) async fn until(what: &str, enough: impl Fn() -> bool) {
    let wait = async {
        while !enough() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}
