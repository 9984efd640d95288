//! The WebSocket under a link: frames in, frames out, each with its deadline.

use axum::extract::ws::{Message, WebSocket};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _};
use std::time::Duration;
use whatsapp_rust::wacore::noise::framing::append_frame_into;

use crate::config::Limits;
use crate::frame::Frames;

/// The connection cannot be continued. Why does not matter: either side may leave at any time.
#[derive(Debug)]
pub(super) struct Ended;

pub(super) struct Wire {
    socket: WebSocket,
    frames: Frames,
    patience: Duration,
}

impl Wire {
    pub(super) fn new(socket: WebSocket, limits: &Limits) -> Self {
        Self { socket, frames: Frames::new(limits.frame_bytes), patience: limits.write }
    }

    /// The next frame, waiting for it.
    pub(super) async fn frame(&mut self) -> Result<BytesMut, Ended> {
        loop {
            if let Some(frame) = self.frames.next_frame() {
                return Ok(frame);
            }
            self.read_more().await?;
        }
    }

    /// The next frame that is here already.
    pub(super) fn next_frame(&mut self) -> Option<BytesMut> {
        self.frames.next_frame()
    }

    /// Waits for one WebSocket message. Safe to cancel.
    pub(super) async fn read_more(&mut self) -> Result<(), Ended> {
        let message = self.socket.next().await;
        self.take(message)
    }

    /// Takes a WebSocket message if one is here. True if there was one.
    pub(super) fn poll_more(&mut self) -> Result<bool, Ended> {
        match self.socket.next().now_or_never() {
            Some(message) => self.take(message).map(|()| true),
            None => Ok(false),
        }
    }

    fn take(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), Ended> {
        match message {
            Some(Ok(Message::Binary(bytes))) => self.frames.feed(&bytes).map_err(|_cause| Ended),
            // Pings are answered underneath; text is nobody's business here.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_))) => Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Ended),
        }
    }

    /// Writes one unencrypted frame: the handshake's.
    pub(super) async fn write_frame(&mut self, body: &[u8]) -> Result<(), Ended> {
        let mut out = BytesMut::with_capacity(body.len() + 3);
        append_frame_into(body, None, &mut out).map_err(|_cause| Ended)?;
        self.write(out.freeze()).await
    }

    /// Writes bytes as one message.
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), Ended> {
        let sent = self.socket.send(Message::Binary(bytes));
        match tokio::time::timeout(self.patience, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Ended),
        }
    }

    /// Ends the WebSocket properly.
    pub(super) async fn close(&mut self) {
        let end = self.socket.send(Message::Close(None));
        // Whether the client heard it makes no difference any more.
        tokio::time::timeout(Duration::from_secs(1), end).await.ok();
    }
}
