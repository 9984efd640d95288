//! The demo's own client: what a user of the API would write.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long a WebSocket may take to open.
const OPEN: Duration = Duration::from_secs(30);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Speaks to one service with one key.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    key: String,
}

impl Client {
    /// A client for the service at `base`.
    pub(super) fn new(base: &str, key: &str) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
        Ok(Self { http, base: base.to_owned(), key: key.to_owned() })
    }

    /// GET, as JSON.
    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        self.answer(self.http.get(format!("{}{path}", self.base))).await
    }

    /// GET, as text of the given type.
    pub(super) async fn text(&self, path: &str, accept: &str) -> Result<String> {
        let request =
            self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.key).header("accept", accept);
        Ok(request.send().await?.error_for_status()?.text().await?)
    }

    /// POST with a JSON body under an idempotency key, once more if the first answer was lost.
    pub(super) async fn post(&self, path: &str, key: &str, body: &Value) -> Result<Value> {
        let request =
            || self.http.post(format!("{}{path}", self.base)).header("idempotency-key", key).json(body);
        match self.answer(request()).await {
            Ok(value) => Ok(value),
            Err(_first) => self.answer(request()).await,
        }
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        let response = request.bearer_auth(&self.key).send().await?;
        let status = response.status();
        let body: Value = response.json().await.unwrap_or_default();
        if !status.is_success() {
            bail!("{status}: {body}");
        }
        Ok(body)
    }

    /// Follows all events from the first one on; a closed WebSocket resumes where it stopped, as the contract says.
    pub(super) async fn follow(&self, show: bool) -> Result<Watcher> {
        let (changed, seen) = watch::channel(0);
        let log: Arc<Mutex<EventLog>> = Arc::default();
        let (client, mine) = (self.clone(), log.clone());
        let mut socket = client.socket(0).await?;
        let reader = async move {
            loop {
                read(&mut socket, &mine, &changed, show).await;
                let after = mine.lock().await.position;
                match client.socket(after).await {
                    Ok(again) => socket = again,
                    Err(_gone) => break,
                }
            }
        };
        Ok(Watcher { log, seen, _reader: super::background(reader) })
    }

    async fn socket(&self, after: i64) -> Result<Socket> {
        let url = format!("{}/ws/sessions?after={after}", self.base.replacen("http", "ws", 1));
        let mut request = url.into_client_request()?;
        request.headers_mut().insert("authorization", format!("Bearer {}", self.key).parse()?);
        let opening = timeout(OPEN, tokio_tungstenite::connect_async(request));
        let (socket, _) = opening.await.context("no WebSocket in time")?.context("WebSocket")?;
        Ok(socket)
    }
}

/// Takes events until the server closes.
async fn read(socket: &mut Socket, log: &Mutex<EventLog>, changed: &watch::Sender<u64>, show: bool) {
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => {
                let event: Value = serde_json::from_str(&text).unwrap_or_default();
                log.lock().await.take(&event, show);
                changed.send_modify(|n| *n += 1);
            }
            Message::Ping(payload) => {
                if socket.send(Message::Pong(payload)).await.is_err() {
                    return;
                }
            }
            Message::Close(_) => return,
            Message::Binary(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// What the WebSocket showed.
#[derive(Default)]
pub(super) struct EventLog {
    /// Events in all.
    pub(super) events: u64,
    /// Positions seen before.
    pub(super) duplicates: u64,
    /// Positions skipped.
    pub(super) gaps: u64,
    /// `seq` out of order within a session.
    pub(super) disorder: u64,
    position: i64,
    seqs: HashMap<String, i64>,
    /// State of each session.
    pub(super) states: HashMap<String, String>,
    /// Times each session logged in.
    pub(super) logins: HashMap<String, u64>,
    /// QR codes by session.
    pub(super) codes: HashMap<String, String>,
    /// Our messages by the best state seen.
    pub(super) outgoing: HashMap<String, String>,
    /// Texts received, by session and WhatsApp id.
    pub(super) received: HashMap<(String, String), u64>,
}

impl EventLog {
    fn take(&mut self, event: &Value, show: bool) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = text(&event["type"]);
        let Some(position) = event["position"].as_i64() else { return };
        let session = text(&event["sessionId"]);
        self.events += 1;
        match position - self.position {
            1 => self.position = position,
            step if step > 1 => {
                self.gaps += 1;
                self.position = position;
            }
            _ => self.duplicates += 1,
        }
        let seq = event["seq"].as_i64().unwrap_or_default();
        let last = self.seqs.insert(session.clone(), seq).unwrap_or_default();
        self.disorder += u64::from(seq != last + 1);
        let data = &event["data"];
        match kind.as_str() {
            "session.status.changed" => {
                self.states.insert(session.clone(), text(&data["to"]));
            }
            "session.status.connected" => *self.logins.entry(session.clone()).or_default() += 1,
            "session.qr.updated" => {
                self.codes.insert(session.clone(), text(&data["qr"]));
            }
            "message.received" => {
                *self.received.entry((session.clone(), text(&data["waMessageId"]))).or_default() += 1;
            }
            "message.queued" => {
                self.outgoing.insert(text(&data["messageId"]), "queued".into());
            }
            // Only what the API accepted: a phone's own messages have events too.
            _ => {
                if let Some(news) = kind.strip_prefix("message.")
                    && let Some(state) = self.outgoing.get_mut(data["messageId"].as_str().unwrap_or_default())
                {
                    news.clone_into(state);
                }
            }
        }
        if show {
            super::table::event(position, &kind, &session, data);
        }
    }

    /// How many of our messages stand at `state` or beyond.
    pub(super) fn reached(&self, states: &[&str]) -> u64 {
        self.outgoing.values().filter(|state| states.contains(&state.as_str())).count() as u64
    }
}

/// A running WebSocket client.
pub(super) struct Watcher {
    log: Arc<Mutex<EventLog>>,
    seen: watch::Receiver<u64>,
    _reader: super::Background,
}

impl Watcher {
    /// Waits until what was seen satisfies `enough`, at most `within`.
    pub(super) async fn until(
        &mut self,
        what: &str,
        within: Duration,
        enough: impl Fn(&EventLog) -> bool,
    ) -> Result<Duration> {
        let started = Instant::now();
        let waiting = async {
            loop {
                if enough(&*self.log.lock().await) {
                    return Ok(());
                }
                self.seen.changed().await.context("the WebSocket ended")?;
            }
        };
        match timeout(within, waiting).await {
            Ok(done) => done.map(|()| started.elapsed()),
            Err(_late) => bail!("not seen within {within:?}: {what}"),
        }
    }

    /// What was seen so far.
    pub(super) async fn look<T>(&self, look: impl Fn(&EventLog) -> T) -> T {
        look(&*self.log.lock().await)
    }
}
