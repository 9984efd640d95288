//! `/ws/sessions`: events as they happen, over a WebSocket.
//!
//! Promises: the first frame is `{"type":"ready","after":"C"}`; then every wanted event above cursor C comes once and in
//! order per session, each with its own `cursor`, or the connection is closed with the cursor to resume from, as
//! `{"reason":"slow","after":"C"}` in the close frame.
//! Nothing is dropped silently. A client that answers no ping is closed, so that it cannot hold a place for ever; one whose
//! key or login has ended is closed within a minute, as `unauthorized`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use futures_util::{FutureExt, SinkExt};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::Api;
use super::access;
use super::auth::{Caller, hashed, presented};
use super::callers::Hash;
use super::error::{Problem, Result};
use super::events::{cursor, filter, kinds_schema};
use super::input::Params;
use super::server::told;
use crate::actors::following::{Following, Shown};
use crate::domain::cursor::Cursor;
use crate::domain::error::Kind;
use crate::domain::ids::SessionId;
use crate::telemetry;

/// How often a quiet client is asked whether it is there.
const PING: Duration = Duration::from_secs(20);

/// How often it is looked at whether the client may still be here. What is remembered of that is at most half a minute
/// old, so nobody follows for a minute after their key or login has ended.
const LOOK: Duration = Duration::from_secs(20);

/// Where it is.
const PATH: &str = "/ws/sessions";

/// How long a client may say nothing, pongs included.
const SILENCE: Duration = Duration::from_secs(60);

/// How long one write may take. The hub closes a client that leaves its full buffer alone; one that is catching up from
/// the table has no buffer to fill, and only this ends it.
const WRITE: Duration = Duration::from_secs(15);

/// How long the close frame may take.
const CLOSING: Duration = Duration::from_secs(5);

/// Events written before they are flushed together.
const BATCH: usize = 64;

/// The longest frame a client may send; it has nothing to say.
const FRAME_LIMIT: usize = 4096;

/// Open sockets, so that the server can end them.
pub(super) struct Sockets(watch::Sender<bool>);

impl Default for Sockets {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Sockets {
    /// The server starts.
    pub(super) fn open(&self) {
        self.0.send_replace(false);
    }

    /// The server stops: tells every socket, and waits until all are closed.
    pub(super) async fn close(&self) {
        self.0.send_replace(true);
        self.0.closed().await;
    }
}

/// Which events.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Events after this cursor, kept ones first; only new ones when absent.
    #[param(value_type = Option<Cursor>, example = "0")]
    after: Option<String>,
    /// Only of this session.
    #[param(value_type = Option<SessionId>)]
    session_id: Option<String>,
    /// Only these types, separated by commas.
    #[serde(rename = "type")]
    #[param(rename = "type", schema_with = kinds_schema)]
    kinds: Option<String>,
    /// The API key or access token, for browsers, which cannot set a header here.
    #[param(min_length = 1, max_length = 4096, example = "rec_…")]
    token: Option<String>,
}

/// Follows events over a WebSocket. The first frame is `{"type":"ready","after":"12"}`, each further one an event with
/// its `cursor`: give the last one back as `after` to go on. When it ends, the close frame says where to resume:
/// `{"reason":"slow","after":"17"}`.
#[utoipa::path(
    get,
    path = "/ws/sessions",
    operation_id = "followEvents",
    tag = "events",
    params(Wanted),
    responses(
        (status = 101, description = "Frames follow"),
        (status = 426, description = "Not a WebSocket handshake"),
    )
)]
pub(super) async fn follow(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    wanted: Result<Params<Wanted>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response> {
    // Who asks comes first, as everywhere; the token may be among the parameters.
    let token = wanted.as_ref().ok().and_then(|wanted| wanted.0.token.as_deref());
    let need = access::need(&Method::GET, PATH);
    let caller = Caller::of(&api, need, &Method::GET, &headers, (token, None)).await?;
    let hash = token.or_else(|| presented(&api, &headers)).map(hashed).unwrap_or_default();
    let Params(wanted) = wanted?;
    let after = cursor(&api, wanted.after.as_deref())?;
    let filter = filter(&caller, wanted.session_id.as_deref(), wanted.kinds.as_deref())?;
    let upgrade = upgrade.map_err(|_plain| {
        Problem::of(StatusCode::UPGRADE_REQUIRED, "websocket_expected", "open this path as a WebSocket")
    })?;
    let events = Following::open(&api.hubs, &api.queries, filter, after).await?;
    let stopping = api.sockets.0.subscribe();
    let upgrade = upgrade.max_message_size(FRAME_LIMIT).max_frame_size(FRAME_LIMIT);
    let given = events.cursor();
    let ids = telemetry::RequestIds::current();
    let welcome = Welcome { api, hash, caller };
    Ok(upgrade.on_upgrade(move |socket| async move {
        let conversation = Conversation { socket, events, given, stopping, welcome }.run();
        match ids {
            Some(ids) => telemetry::of_request(ids, conversation).await,
            None => conversation.await,
        }
    }))
}

/// How a conversation ends.
enum End {
    /// The client is gone or silent; there is nobody to tell.
    Gone,
    /// The client said good-bye; the library answers.
    Left,
    /// We close it, and say why and where to go on.
    Told(&'static str, Cursor),
}

struct Conversation {
    socket: WebSocket,
    events: Following,
    /// The last event handed to the socket. What it took reaches the client before the close frame does.
    given: Cursor,
    stopping: watch::Receiver<bool>,
    welcome: Welcome,
}

/// Why the client may be here.
struct Welcome {
    api: Arc<Api>,
    hash: Hash,
    caller: Caller,
}

impl Welcome {
    /// Whether what the client came with is still good. A store that does not answer decides nothing.
    async fn holds(&self) -> bool {
        match Caller::still(&self.api, self.hash, &self.caller).await {
            Ok(()) => true,
            Err(error) => !matches!(error.kind, Kind::Unauthorized | Kind::Forbidden),
        }
    }
}

impl Conversation {
    async fn run(mut self) {
        let end = self.talk().await;
        let close = match end {
            End::Gone => return,
            End::Left => None,
            End::Told(reason, after) => Some(CloseFrame {
                code: match reason {
                    "stopping" => close_code::AWAY,
                    "unauthorized" => close_code::POLICY,
                    _ => close_code::AGAIN,
                },
                reason: format!(r#"{{"reason":"{reason}","after":"{after}"}}"#).into(),
            }),
        };
        let told = async {
            if let Some(close) = close {
                self.socket.send(Message::Close(Some(close))).await?;
            }
            // Dropping the connection with something unread in it could take the close frame back.
            while self.socket.recv().await.transpose()?.is_some() {}
            Ok::<(), axum::Error>(())
        };
        if !matches!(timeout(CLOSING, told).await, Ok(Ok(()))) {
            tracing::debug!("a client did not take its close frame");
        }
    }

    async fn talk(&mut self) -> End {
        let ready = format!(r#"{{"type":"ready","after":"{}"}}"#, self.given);
        if let Err(end) = self.write(Message::Text(ready.into())).await {
            return end;
        }
        let mut pings = interval_at(Instant::now() + PING, PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut looks = interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                biased;
                () = told(&mut self.stopping) => {
                    Err(End::Told("stopping", self.events.cursor()))
                }
                said = self.socket.recv() => match said {
                    Some(Ok(Message::Close(_))) => Err(End::Left),
                    Some(Ok(_)) => {
                        heard = Instant::now();
                        Ok(())
                    }
                    Some(Err(_)) | None => Err(End::Gone),
                },
                _ = pings.tick() => {
                    if heard.elapsed() > SILENCE {
                        Err(End::Gone)
                    } else {
                        self.write(Message::Ping(Vec::new().into())).await
                    }
                }
                _ = looks.tick() => {
                    if self.welcome.holds().await { Ok(()) } else { Err(End::Told("unauthorized", self.given.clone())) }
                }
                frame = self.events.next() => self.pass_on(frame).await,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Writes an event and those that are ready behind it, then flushes them together.
    async fn pass_on(&mut self, first: Shown) -> Result<(), End> {
        let mut next = Some(first);
        let mut written = 0;
        while let Some(frame) = next.take() {
            match frame {
                Shown::Event { shard, position, json } => {
                    let mut cursor = self.given.clone();
                    cursor.set(shard, position);
                    let text = format!(r#"{{"cursor":"{cursor}",{}"#, json.get(1..).unwrap_or_default());
                    self.feed(Message::Text(text.into())).await?;
                    self.given = cursor;
                }
                Shown::Closed { resume_after, reason } => return Err(End::Told(reason, resume_after)),
            }
            written += 1;
            if written < BATCH {
                next = self.events.next().now_or_never();
            }
        }
        self.flush().await
    }

    async fn write(&mut self, message: Message) -> Result<(), End> {
        self.feed(message).await?;
        self.flush().await
    }

    async fn feed(&mut self, message: Message) -> Result<(), End> {
        let after = self.given.clone();
        let mut alarm = self.events.alarm();
        tokio::select! {
            biased;
            fed = timeout(WRITE, self.socket.feed(message)) => sent(fed, after),
            reason = alarm.raised() => Err(End::Told(reason, after)),
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        let after = self.given.clone();
        let mut alarm = self.events.alarm();
        tokio::select! {
            biased;
            flushed = timeout(WRITE, self.socket.flush()) => sent(flushed, after),
            reason = alarm.raised() => Err(End::Told(reason, after)),
        }
    }
}

fn sent<E>(written: Result<Result<(), E>, tokio::time::error::Elapsed>, after: Cursor) -> Result<(), End> {
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Gone),
        Err(_late) => {
            telemetry::hub_slow_client();
            Err(End::Told("slow", after))
        }
    }
}
