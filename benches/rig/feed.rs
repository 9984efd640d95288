//! Events over the WebSocket, resumed by cursor whenever the connection ends: a client as ours should be.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long it tries to get back.
const BACK: Duration = Duration::from_secs(120);

/// One follower.
pub(crate) struct Feed {
    addr: SocketAddr,
    key: String,
    filter: String,
    /// The cursor of the last event seen; `None` until the server said where "now" is.
    pub(crate) after: Option<String>,
    socket: Option<WebSocketStream<TcpStream>>,
    /// Times it had to come back.
    pub(crate) resumes: u64,
}

impl Feed {
    /// Follows events above `after`, or from now on; `filter` is query text such as `type=message.received`.
    pub(crate) async fn open(addr: SocketAddr, key: &str, after: Option<&str>, filter: &str) -> Result<Self> {
        let after = after.map(str::to_owned);
        let mut feed =
            Self { addr, key: key.to_owned(), filter: filter.to_owned(), after, socket: None, resumes: 0 };
        feed.socket = Some(feed.connect().await?);
        Ok(feed)
    }

    async fn connect(&self) -> Result<WebSocketStream<TcpStream>> {
        let after = self.after.as_ref().map_or_else(String::new, |after| format!("after={after}&"));
        let url = format!("ws://{}/ws/sessions?{after}{}", self.addr, self.filter);
        let mut request = url.into_client_request()?;
        request.headers_mut().insert("authorization", format!("Bearer {}", self.key).parse()?);
        let opening = async {
            let stream = TcpStream::connect(self.addr).await?;
            stream.set_nodelay(true)?;
            Ok::<_, anyhow::Error>(client_async(request, stream).await.context("WebSocket")?.0)
        };
        timeout(Duration::from_secs(30), opening).await.context("no WebSocket in time")?
    }

    /// The next event, as text. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Utf8Bytes> {
        loop {
            let Some(socket) = &mut self.socket else {
                self.back().await?;
                continue;
            };
            match socket.next().await {
                Some(Ok(Message::Text(event))) => {
                    if let Some(cursor) = word(&event, "\"cursor\":\"") {
                        self.after = Some(cursor.to_owned());
                        return Ok(event);
                    }
                    // The first frame says where we are.
                    let here = || word(&event, "\"after\":\"").map(str::to_owned);
                    self.after = self.after.take().or_else(here);
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => {
                    self.socket = None;
                    self.resumes += 1;
                }
            }
        }
    }

    async fn back(&mut self) -> Result<()> {
        let until = Instant::now() + BACK;
        while Instant::now() < until {
            if let Ok(socket) = self.connect().await {
                self.socket = Some(socket);
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!("the WebSocket did not come back within {BACK:?}")
    }
}

/// The number of a member of the envelope, read without parsing the rest.
pub(crate) fn number(event: &str, member: &str) -> Option<i64> {
    let (_, rest) = event.split_once(member)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The text of a member, read without parsing the rest.
pub(crate) fn word<'e>(event: &'e str, member: &str) -> Option<&'e str> {
    let (_, rest) = event.split_once(member)?;
    rest.split('"').next()
}
