//! A real engine client against a sandbox. Every wait has a deadline and a reason that it prints.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use recado_sandbox::{InboxMessage, Linked, Sandbox, SandboxConfig, ScanQr, SendText};
use tokio::task::JoinSet;
use whatsapp_rust::async_channel;
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};
use whatsapp_rust::prelude::*;
use whatsapp_rust::store::persistence_manager::PersistenceManager;
use whatsapp_rust::transport::TokioWebSocketTransportFactory;
use whatsapp_rust::wacore::store::traits::DeviceStore as _;
use whatsapp_rust::wacore::store::{CachedNoiseCert, CachedServerCertChain, Device, InMemoryBackend};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The chat path needs no HTTP.
struct NoHttp;

#[whatsapp_rust::async_trait]
impl HttpClient for NoHttp {
    async fn execute(&self, _request: HttpRequest) -> anyhow::Result<HttpResponse> {
        anyhow::bail!("no HTTP in tests")
    }
}

pub(crate) async fn sandbox() -> Sandbox {
    Sandbox::start(SandboxConfig::default()).await.expect("a sandbox")
}

pub(crate) async fn within<T>(what: &str, run: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, run).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Waits until a question about the world is answered.
pub(crate) async fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    within(what, async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        loop {
            tick.tick().await;
            if let Some(answer) = ask() {
                return answer;
            }
        }
    })
    .await
}

pub(crate) struct TestClient {
    pub(crate) client: Arc<Client>,
    events: async_channel::Receiver<Arc<Event>>,
    runs: JoinSet<()>,
    backend: Arc<InMemoryBackend>,
}

pub(crate) async fn backend(pin: Option<[u8; 32]>) -> Arc<InMemoryBackend> {
    let backend = Arc::new(InMemoryBackend::new());
    let mut device = Device::new();
    device.push_name = "a test".into();
    if let Some(key) = pin {
        let cert = CachedNoiseCert { key, not_before: 0, not_after: i64::MAX };
        device.server_cert_chain = Some(CachedServerCertChain { intermediate: cert.clone(), leaf: cert });
        device.pn = Some("0@s.whatsapp.net".parse().unwrap());
    }
    backend.save(&device).await.unwrap();
    backend
}

impl TestClient {
    pub(crate) async fn new(url: &str, backend: Arc<InMemoryBackend>) -> Self {
        Self::over(TokioWebSocketTransportFactory::new().with_url(url), backend).await
    }

    pub(crate) async fn over(
        transport: TokioWebSocketTransportFactory,
        backend: Arc<InMemoryBackend>,
    ) -> Self {
        let pm = Arc::new(PersistenceManager::new(backend.clone()).await.unwrap());
        let client = Client::builder()
            .with_runtime(TokioRuntime)
            .with_persistence_manager(pm)
            .with_transport_factory(transport)
            .with_http_client(NoHttp)
            .with_version_override((2, 3000, 1_042_742_319))
            .with_background_saver_interval(Duration::from_secs(30))
            .with_wanted_pre_key_count(30)
            .build()
            .await
            .unwrap()
            .into_client();
        client.enable_auto_reconnect.store(false, Ordering::Relaxed);
        let (handler, events) = ChannelEventHandler::new();
        client.subscribe_handler(handler).detach();
        Self { client, events, runs: JoinSet::new(), backend }
    }

    /// A client that trusts this sandbox by pinned key.
    pub(crate) async fn pinned(sandbox: &Sandbox) -> Self {
        Self::new(&sandbox.ws_url(), backend(Some(sandbox.static_key())).await).await
    }

    /// A new client on what an old one stored.
    pub(crate) async fn again(sandbox: &Sandbox, old: Self) -> Self {
        Self::new(&sandbox.ws_url(), Arc::clone(&old.backend)).await
    }

    /// Connects again and again, as a supervisor would.
    pub(crate) fn run(&mut self) {
        let client = Arc::clone(&self.client);
        self.runs.spawn(async move {
            while !client.shutdown_signal().is_fired() {
                client.enable_auto_reconnect.store(false, Ordering::Relaxed);
                client.run().await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    /// The connection ends and nobody brings it back.
    pub(crate) async fn hang_up(&mut self) {
        self.runs.shutdown().await;
        within("hanging up", self.client.disconnect()).await;
    }

    /// The first event from now on that `pick` wants.
    pub(crate) async fn event<T>(&self, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
        within(what, async {
            loop {
                let event = self.events.recv().await.expect("events");
                if let Some(found) = pick(&event) {
                    return found;
                }
            }
        })
        .await
    }

    pub(crate) async fn qr(&self) -> String {
        self.event("a QR code", |e| match e {
            Event::PairingQrCode(qr) => Some(qr.code.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn connected(&self) {
        self.event("connected", |e| matches!(e, Event::Connected(_)).then_some(())).await;
    }

    /// (id, text, from) of the next message.
    pub(crate) async fn message(&self) -> (String, String, Jid) {
        self.event("a message", first_text).await
    }

    pub(crate) async fn send(&self, to: &str, id: &str, text: &str) {
        let to: Jid = format!("{to}@s.whatsapp.net").parse().unwrap();
        let message = whatsapp_rust::waproto::whatsapp::Message {
            conversation: Some(text.into()),
            ..Default::default()
        };
        let options = SendOptions::default().with_message_id(id);
        let sent = self.client.send_message_with_options(to, message, options);
        within("sending", sent).await.unwrap();
    }
}

pub(crate) fn first_text(event: &Event) -> Option<(String, String, Jid)> {
    event.messages().find_map(|m| {
        let text = m.message.conversation.clone().or_else(|| m.message.extended_text_message.text.clone())?;
        Some((m.info.id.to_string(), text, m.info.source.sender.clone()))
    })
}

/// A client of its own account, linked and connected.
pub(crate) async fn linked(sandbox: &Sandbox) -> (TestClient, Linked) {
    let mut client = TestClient::pinned(sandbox).await;
    client.run();
    let qr = client.qr().await;
    let linked = within("linking", sandbox.scan_qr(&qr, ScanQr::default())).await.expect("linked");
    client.connected().await;
    (client, linked)
}

pub(crate) fn text(to: &str, text: &str) -> SendText {
    SendText { to: to.into(), text: text.into(), id: None, reply_to: None, count: None, per_second: None }
}

/// Waits until a phone has so many messages, and gives them.
pub(crate) async fn inbox(sandbox: &Sandbox, phone: &str, total: usize) -> Vec<InboxMessage> {
    until("the phone's inbox", || {
        let page = sandbox.inbox(phone, 0, 10_000).unwrap();
        (page.messages.len() >= total).then_some(page.messages)
    })
    .await
}
