//! Where messages come in: nothing is acknowledged to WhatsApp before the sink has it for good.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use whatsapp_rust::types::durability_hook::InboundMessage;
use whatsapp_rust::{Client, InboundDurabilityHook, anyhow, async_trait};

use super::inbound;
use crate::infra::gateway::Sink;

/// Gives each batch to the sink and waits for its answer.
pub(super) struct Hook {
    pub(super) sink: Arc<dyn Sink>,
    /// How long the sink may take: beyond it the batch counts as failed and comes again.
    pub(super) patience: Duration,
    /// Whether the link is being closed: its owner may have another one by now.
    pub(super) closing: watch::Receiver<bool>,
}

#[async_trait]
impl InboundDurabilityHook for Hook {
    async fn on_messages(&self, _client: Arc<Client>, batch: &[InboundMessage]) -> anyhow::Result<()> {
        anyhow::ensure!(!*self.closing.borrow(), "the link is being closed");
        let messages: Vec<_> = batch.iter().filter_map(inbound::translate).collect();
        if messages.is_empty() {
            return Ok(());
        }
        tokio::time::timeout(self.patience, self.sink.inbound(messages)).await??;
        Ok(())
    }
}
