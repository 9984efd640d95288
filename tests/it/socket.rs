//! WebSocket clients: greeted, pinged, told where to resume when it ends.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use recado::commands::service::Service;
use recado::config::Config;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// How long anything may take before a test fails.
const SOON: Duration = Duration::from_secs(60);

type Socket = WebSocketStream<TcpStream>;

struct Rig {
    service: Service,
    _folder: tempfile::TempDir,
    http: reqwest::Client,
    base: String,
    key: String,
    session: String,
}

async fn rig(config: impl FnOnce(Config) -> Config) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let config = config(Config::embedded(folder.path()).unwrap());
    let service = Service::start(config, Vec::new()).await.unwrap();
    let (base, key) = (service.url().to_owned(), service.new_key().await.unwrap());
    let http = reqwest::Client::builder().timeout(SOON).build().unwrap();
    let request = http.post(format!("{base}/sessions")).bearer_auth(&key).json(&json!({"start": false}));
    let body: Value = request.send().await.unwrap().json().await.unwrap();
    let session = body["sessionId"].as_str().unwrap().to_owned();
    Rig { service, _folder: folder, http, base, key, session }
}

impl Rig {
    /// Accepts texts for a session that is never started: each is one event.
    async fn queue(&self, count: usize) {
        let url = format!("{}/sessions/{}/messages", self.base, self.session);
        let to = format!("{}@g.us", "1".repeat(64));
        let body = json!({"to": to, "content": {"type": "text", "text": "hola"}});
        let send = async |_| {
            let response = self.http.post(&url).bearer_auth(&self.key).json(&body).send().await.unwrap();
            assert_eq!(response.status(), 202);
        };
        futures_util::stream::iter(0..count).map(send).buffer_unordered(32).collect::<Vec<()>>().await;
    }

    /// A client; `window` is the receive buffer of its socket in bytes.
    async fn follow(&self, query: &str, window: Option<u32>) -> Socket {
        let host = self.base.strip_prefix("http://").unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(window) = window {
            socket.set_recv_buffer_size(window).unwrap();
        }
        let stream = socket.connect(host.parse().unwrap()).await.unwrap();
        let request =
            format!("ws://{host}/ws/sessions?token={}{query}", self.key).into_client_request().unwrap();
        tokio_tungstenite::client_async(request, stream).await.unwrap().0
    }

    /// Waits until the event at this position has been shown to clients.
    async fn shown(&self, position: i64) {
        let mut socket = self.follow("&after=0", None).await;
        loop {
            let Seen::Json(event) = next(&mut socket).await else { panic!("closed before {position}") };
            if event["position"] == position {
                return;
            }
        }
    }

    async fn metric(&self, name: &str) -> f64 {
        let text =
            self.http.get(format!("{}/metrics", self.base)).send().await.unwrap().text().await.unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

enum Seen {
    Json(Value),
    /// The reason of the close frame.
    Closed(u16, Value),
    /// The end without one.
    Cut,
}

async fn next(socket: &mut Socket) -> Seen {
    loop {
        match timeout(SOON, socket.next()).await.expect("a frame in time") {
            Some(Ok(Message::Text(text))) => return Seen::Json(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(Some(frame)))) => {
                return Seen::Closed(frame.code.into(), serde_json::from_str(&frame.reason).unwrap());
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(other)) => panic!("an unexpected frame: {other:?}"),
            Some(Err(_)) | None => return Seen::Cut,
        }
    }
}

/// Reads until the end: the positions seen, and the end.
async fn positions(socket: &mut Socket) -> (Vec<i64>, Seen) {
    let mut seen = Vec::new();
    loop {
        match next(socket).await {
            Seen::Json(event) => seen.extend(event["position"].as_i64()),
            end @ (Seen::Closed(..) | Seen::Cut) => return (seen, end),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_frame_says_where_the_client_stands() {
    let rig = rig(|config| config).await;
    rig.queue(2).await;
    rig.shown(3).await;
    let mut socket = rig.follow("&after=1", None).await;
    let Seen::Json(ready) = next(&mut socket).await else { panic!("no greeting") };
    assert_eq!(ready, json!({"type": "ready", "after": "1"}));
    let Seen::Json(event) = next(&mut socket).await else { panic!("no event") };
    assert_eq!((event["position"].as_i64(), event["type"].as_str()), (Some(2), Some("message.queued")));
    // What a client says is ignored.
    socket.send(Message::text("{\"hello\":1}")).await.unwrap();
    let Seen::Json(event) = next(&mut socket).await else { panic!("no event") };
    assert_eq!(event["position"], 3);
    socket.close(None).await.unwrap();
    assert!(rig.service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_position_sees_only_what_comes() {
    let rig = rig(|config| config).await;
    rig.queue(1).await;
    rig.shown(2).await;
    let mut socket = rig.follow("&type=message.queued", None).await;
    let Seen::Json(ready) = next(&mut socket).await else { panic!("no greeting") };
    assert!(ready["after"].as_str().unwrap().parse::<i64>().unwrap() >= 2, "{ready}");
    rig.queue(1).await;
    let Seen::Json(event) = next(&mut socket).await else { panic!("no event") };
    assert_eq!(event["position"], 3, "{event}");
    assert!(rig.service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_node_tells_where_to_resume() {
    let rig = rig(|config| config).await;
    let mut socket = rig.follow("&after=0", None).await;
    let Seen::Json(_ready) = next(&mut socket).await else { panic!("no greeting") };
    let Seen::Json(created) = next(&mut socket).await else { panic!("no event") };
    assert_eq!(created["position"], 1);
    let (stopped, end) = tokio::join!(rig.service.stop(), next(&mut socket));
    assert!(stopped, "a followed service stops in time");
    let Seen::Closed(code, reason) = end else { panic!("no close frame") };
    assert_eq!((code, reason), (1001, json!({"reason": "stopping", "after": "1"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_closed_and_loses_nothing() {
    // About 11 MB, more than the kernel's buffers take.
    let events = 24_000;
    let rig = rig(|config| Config { hub_buffer: 16, session_queue: 100_000, ..config }).await;
    let mut socket = rig.follow("&after=0", Some(4096)).await;
    rig.queue(events).await;
    // Closed by the hub when its buffer is full for too long, or by the server when one write takes too long: which of
    // the two comes first depends on how far the client had been caught up. Both are counted.
    let deadline = Instant::now() + SOON;
    while rig.metric("hub_slow_clients_total").await < 1.0 {
        assert!(Instant::now() < deadline, "the slow client was not closed");
        sleep(Duration::from_millis(5)).await;
    }
    let (mut seen, end) = positions(&mut socket).await;
    let last = *seen.last().unwrap();
    if let Seen::Closed(code, reason) = end {
        assert_eq!((code, &reason["reason"]), (1013, &json!("slow")));
        assert_eq!(reason["after"], last.to_string(), "the place to resume is the last event that arrived");
    }
    let all = i64::try_from(events).unwrap() + 1;
    assert!(last < all, "it was closed in the middle");
    let mut again = rig.follow(&format!("&after={last}"), None).await;
    while seen.last() != Some(&all) {
        let Seen::Json(event) = next(&mut again).await else { panic!("closed at {:?}", seen.last()) };
        seen.extend(event["position"].as_i64());
    }
    assert!(seen.iter().copied().eq(1..=all), "every event once, in order");
    assert!(rig.service.stop().await);
}
