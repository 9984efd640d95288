//! Where messages come in.
//!
//! What it promises:
//! * Nothing is acknowledged to WhatsApp before the sink has it for good.
//! * A short trouble of the store costs a short wait and nothing else.
//! * A longer one ends the connection: WhatsApp sends what was not acknowledged again at the next login, and only
//!   then. Nothing that comes after the message in question is taken before, so the order stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use whatsapp_rust::types::durability_hook::InboundMessage;
use whatsapp_rust::{Client, InboundDurabilityHook, anyhow, async_trait};

use super::backend::Backend;
use super::events::Watcher;
use super::inbound;
use crate::domain::error::{Error, Kind, Result};
use crate::infra::gateway::{LinkEnd, Sink};

/// Between two tries to store a batch: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Gives each batch to the sink and waits for its answer.
pub(super) struct Hook {
    sink: Arc<dyn Sink>,
    watcher: Arc<Watcher>,
    backend: Arc<Backend>,
    /// How long it may take until a batch is stored, tries and pauses together.
    patience: Duration,
    /// Whether the link is being closed: its owner may have another one by now.
    closing: watch::Receiver<bool>,
    /// Whether a batch was given up: what follows waits for the next connection too.
    gave_up: AtomicBool,
}

impl Hook {
    pub(super) fn new(
        sink: Arc<dyn Sink>,
        watcher: Arc<Watcher>,
        backend: Arc<Backend>,
        patience: Duration,
        closing: watch::Receiver<bool>,
    ) -> Self {
        Self { sink, watcher, backend, patience, closing, gave_up: AtomicBool::new(false) }
    }

    /// Whether this connection takes messages.
    fn takes(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!*self.closing.borrow(), "the link is being closed");
        anyhow::ensure!(!self.gave_up.load(Ordering::Acquire), "the connection is being replaced");
        Ok(())
    }

    async fn store(&self, batch: &[InboundMessage], deadline: Instant) -> Result<()> {
        let mut messages = Vec::with_capacity(batch.len());
        for one in batch {
            match inbound::translate(one) {
                Some(message) => messages.push(message),
                None => self.backend.handled(one),
            }
        }
        if messages.is_empty() {
            return Ok(());
        }
        let late = || Error::unavailable("inbound_late", "the messages were not stored in time");
        timeout_at(deadline, self.sink.inbound(messages)).await.unwrap_or_else(|_late| Err(late()))
    }

    /// After a failed try: pauses if another one makes sense.
    ///
    /// # Errors
    /// It makes none: nothing of the batch may be acknowledged.
    async fn pause(&self, error: Error, pause: Duration, deadline: Instant) -> anyhow::Result<()> {
        let passing = matches!(error.kind, Kind::Busy | Kind::Unavailable);
        if passing && Instant::now() + pause < deadline {
            let mut closing = self.closing.clone();
            tokio::select! {
                () = sleep(pause) => {}
                _closed = closing.wait_for(|closing| *closing) => {}
            }
            return self.takes();
        }
        if passing || error.kind == Kind::Fenced {
            self.gave_up.store(true, Ordering::Release);
            let reason = "inbound_not_stored".to_owned();
            self.watcher.cut(LinkEnd::Lost { reason, was_connected: true });
        } else {
            // A new connection would not help, and it would hold up all that follows. It comes again at the next login.
            tracing::error!(%error, "the store refuses messages that came in; they are not acknowledged");
        }
        Err(error.into())
    }
}

#[async_trait]
impl InboundDurabilityHook for Hook {
    async fn on_messages(&self, _client: Arc<Client>, batch: &[InboundMessage]) -> anyhow::Result<()> {
        self.takes()?;
        let deadline = Instant::now() + self.patience;
        let mut pause = FIRST_PAUSE;
        while let Err(error) = self.store(batch, deadline).await {
            self.pause(error, pause, deadline).await?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }
}
