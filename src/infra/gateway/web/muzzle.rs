//! Nothing is said to WhatsApp about what could not be read here.
//!
//! The engine answers a message that it cannot decrypt with a refusal, also when all that is missing is an answer of our
//! store; WhatsApp then drops the message for good. So the first read that fails silences the connection and ends it,
//! before the engine hears of the failure. The next connection finds the message still waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use whatsapp_rust::transport::Transport;
use whatsapp_rust::wacore::stats::TransportResourceReport;
use whatsapp_rust::{anyhow, async_trait};

/// How often a session's credentials could not be read.
#[derive(Debug, Default)]
pub(super) struct Doubt(AtomicU64);

impl Doubt {
    /// A read has failed.
    pub(super) fn arise(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// To be compared later.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A transport that falls silent at the first doubt.
pub(super) struct Muzzle {
    inner: Arc<dyn Transport>,
    doubt: Arc<Doubt>,
    /// The doubts of earlier connections.
    before: u64,
}

impl Muzzle {
    pub(super) fn on(inner: Arc<dyn Transport>, doubt: Arc<Doubt>, before: u64) -> Arc<dyn Transport> {
        Arc::new(Self { inner, doubt, before })
    }
}

#[async_trait]
impl Transport for Muzzle {
    async fn send(&self, data: Bytes) -> anyhow::Result<()> {
        if self.doubt.count() != self.before {
            self.inner.disconnect().await;
            anyhow::bail!("the store could not be read: this connection says nothing more");
        }
        self.inner.send(data).await
    }

    async fn disconnect(&self) {
        self.inner.disconnect().await;
    }

    fn resource_report(&self) -> Option<TransportResourceReport> {
        self.inner.resource_report()
    }
}
