//! The socket below Noise.
//!
//! What it promises: a sandbox's key never meets WhatsApp's own hosts; Nagle's algorithm is off; every step has a
//! deadline; no message is larger than the protocol's own limit; what the server said before it closed is read; and the
//! last failure to connect is known afterwards, which the engine only logs.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderValue, ORIGIN};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, Limits};
use whatsapp_rust::transport::{Connector, Transport, TransportEvent, TransportFactory, from_websocket};
use whatsapp_rust::wacore::net::{WHATSAPP_WEB_ORIGIN, WHATSAPP_WEB_WS_URL};
use whatsapp_rust::{anyhow, async_channel, async_trait};

use super::muzzle::{Doubt, Muzzle};
use super::socket::Socket;
use crate::domain::error::{Error, Result};
use crate::domain::session::Endpoint;
use crate::telemetry;

/// Noise counts a frame in three bytes; one message may hold a frame and the start of another.
const MESSAGE_LIMIT: usize = 2 * 16 * 1024 * 1024;

/// WhatsApp's own domains.
const REAL: [&str; 2] = ["whatsapp.com", "whatsapp.net"];

/// Where a session's socket goes, checked.
#[derive(Clone, Debug)]
pub(super) struct Route {
    url: Url,
    /// Set for a sandbox: the only authority its HTTP requests may go to.
    pub(super) sandbox: Option<(String, u16)>,
}

impl Route {
    /// The route to an endpoint.
    ///
    /// # Errors
    /// `Invalid`, naming the field: no address, or a sandbox's pin on WhatsApp's own host.
    pub(super) fn to(endpoint: &Endpoint) -> Result<Self> {
        endpoint.check()?;
        let (text, is_sandbox) = match endpoint {
            Endpoint::Whatsapp {} => (WHATSAPP_WEB_WS_URL, false),
            Endpoint::Sandbox { url, .. } => (url.as_str(), true),
        };
        let refuse = |code| Error::invalid("endpoint.url", code, "is not an address that a session may have");
        let url = Url::parse(text).map_err(|_unparsable| refuse("invalid_endpoint"))?;
        let host =
            url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| refuse("invalid_endpoint"))?;
        let port = url.port_or_known_default().ok_or_else(|| refuse("invalid_endpoint"))?;
        // Checked again on the host that will be dialled: two readings of one text may differ.
        if is_sandbox && is_real(host) {
            return Err(refuse("sandbox_on_real_host"));
        }
        let sandbox = is_sandbox.then(|| (host.to_owned(), port));
        Ok(Self { url, sandbox })
    }

    /// Whether the sandbox speaks plainly.
    pub(super) fn is_plain(&self) -> bool {
        self.url.scheme() == "ws"
    }

    fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }
}

fn is_real(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    REAL.iter().any(|real| host.strip_suffix(real).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// How far the last attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Dialled {
    /// Not tried, or under way.
    #[default]
    No,
    /// It failed, at this step.
    Failed(&'static str),
    /// The WebSocket was open.
    Open,
}

/// Opens the sockets of one session.
pub(super) struct Dialler {
    route: Route,
    tls: Arc<Connector>,
    /// For each step: name and connection, TLS, upgrade.
    patience: Duration,
    last: Mutex<Dialled>,
    doubt: Arc<Doubt>,
    /// The present connection.
    open: Mutex<Option<Weak<dyn Transport>>>,
    /// How often there was doubt before the present connection.
    before: AtomicU64,
}

impl fmt::Debug for Dialler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialler").field("route", &self.route.url.as_str()).finish_non_exhaustive()
    }
}

impl Dialler {
    pub(super) fn new(route: Route, tls: Arc<Connector>, patience: Duration, doubt: Arc<Doubt>) -> Self {
        let before = AtomicU64::new(doubt.count());
        Self { route, tls, patience, last: Mutex::default(), doubt, open: Mutex::new(None), before }
    }

    /// Closes the socket now, whatever the engine still has to store before it would.
    pub(super) async fn hang_up(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(transport) = open.and_then(|open| open.upgrade()) {
            transport.disconnect().await;
        }
    }

    /// Whether the present connection was silenced, since the store could not be read.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubt.count() != self.before.load(Ordering::Acquire)
    }

    /// How far the last attempt came.
    pub(super) fn last(&self) -> Dialled {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, dialled: Dialled) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = dialled;
    }

    async fn step<T, E: fmt::Display>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> anyhow::Result<T> {
        let failure = match tokio::time::timeout(self.patience, work).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => error.to_string(),
            Err(_late) => "no answer in time".to_owned(),
        };
        self.note(Dialled::Failed(name));
        let said = telemetry::scrubbed(&failure, telemetry::Whose::Others);
        tracing::info!(step = name, failure = %said, "cannot reach WhatsApp");
        Err(anyhow::anyhow!("{name}: {failure}"))
    }
}

#[async_trait]
impl TransportFactory for Dialler {
    async fn create_transport(
        &self,
    ) -> anyhow::Result<(Arc<dyn Transport>, async_channel::Receiver<TransportEvent>)> {
        // Noted first: the engine may drop this future at its own deadline.
        self.note(Dialled::Failed("connect_timeout"));
        let before = self.doubt.count();
        self.before.store(before, Ordering::Release);
        let host = self.route.host();
        let port = self.route.url.port_or_known_default().unwrap_or_default();
        let tcp = self.step("connect_failed", TcpStream::connect((host, port))).await?;
        tcp.set_nodelay(true)?;
        let plain = Connector::Plain;
        let connector = if self.route.is_plain() { &plain } else { &*self.tls };
        let stream = self.step("tls_failed", connector.wrap(host, Socket::new(tcp))).await?;
        let builder = ClientBuilder::new()
            .uri(self.route.url.as_str())?
            .limits(Limits::default().max_payload_len(Some(MESSAGE_LIMIT)))
            .add_header(ORIGIN, HeaderValue::from_static(WHATSAPP_WEB_ORIGIN))?;
        let (socket, _response) = self.step("upgrade_failed", builder.connect_on(stream)).await?;
        self.note(Dialled::Open);
        let (transport, events) = from_websocket(socket);
        let transport = Muzzle::on(transport, self.doubt.clone(), before);
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::downgrade(&transport));
        Ok((transport, events))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::SinkExt;

    use super::*;

    fn route(url: &str) -> Result<Route> {
        Route::to(&Endpoint::Sandbox { url: url.to_owned(), static_key: "ab".repeat(32) })
    }

    fn dialler(url: &str) -> Dialler {
        let (plain, patience) = (Arc::new(Connector::Plain), Duration::from_secs(5));
        Dialler::new(route(url).unwrap(), plain, patience, Arc::default())
    }

    #[test]
    fn a_pin_never_reaches_the_real_host_however_its_address_is_written() {
        for url in [
            "wss://web.whatsapp.com/ws/chat",
            "wss://web.whatsapp.com\\@sandbox.test/ws/chat",
            "wss://WEB.whatsapp.com.:443/ws",
            "wss://web%2ewhatsapp.com/ws",
            "ws://whatsapp.net/",
        ] {
            assert!(route(url).is_err(), "{url}");
        }
        assert!(Route::to(&Endpoint::Whatsapp {}).unwrap().sandbox.is_none());
    }

    #[test]
    fn a_sandbox_may_be_anywhere_else() {
        for url in [
            "ws://127.0.0.1:8090/ws/chat",
            "wss://sandbox.test/ws/chat",
            "ws://[::1]:9/ws",
            "ws://notwhatsapp.com/",
        ] {
            assert!(route(url).is_ok(), "{url}");
        }
        assert_eq!(route("ws://[::1]:9/ws").unwrap().host(), "::1");
        assert_eq!(route("ws://10.0.0.1:8090/x").unwrap().sandbox, Some(("10.0.0.1".to_owned(), 8090)));
    }

    #[tokio::test]
    async fn a_refused_connection_is_known_afterwards() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws/chat", listener.local_addr().unwrap());
        drop(listener);
        let dialler = dialler(&url);
        assert_eq!(dialler.last(), Dialled::No);
        assert!(dialler.create_transport().await.is_err());
        assert_eq!(dialler.last(), Dialled::Failed("connect_failed"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_is_given_up_on() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws/chat", listener.local_addr().unwrap());
        let dialler = dialler(&url);
        assert!(dialler.create_transport().await.is_err());
        assert_eq!(dialler.last(), Dialled::Failed("upgrade_failed"));
    }

    #[tokio::test]
    async fn the_last_words_of_a_server_are_heard_also_by_who_is_writing() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws/chat", listener.local_addr().unwrap());
        let server = async {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
            socket.send(tokio_tungstenite::tungstenite::Message::binary("why")).await.unwrap();
        };
        let dialler = dialler(&url);
        let (made, ()) = tokio::join!(dialler.create_transport(), server);
        let (transport, events) = made.unwrap();
        // The server is gone, and nothing else runs on this thread meanwhile: what it said is not read yet.
        for _ in 0..100 {
            tokio::task::unconstrained(transport.send(Bytes::from_static(b"x"))).await.unwrap();
        }
        let mut heard = Vec::new();
        while let Ok(event) = events.recv().await {
            heard.push(event);
        }
        let [TransportEvent::Connected, TransportEvent::DataReceived(words), TransportEvent::Disconnected(_)] =
            &heard[..]
        else {
            panic!("{heard:?}")
        };
        assert_eq!(&words[..], b"why");
    }
}
