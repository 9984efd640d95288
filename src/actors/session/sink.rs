//! Where a link delivers what happens.
//!
//! Events gather in a bounded buffer and wake the session once, so its mailbox holds one message however many
//! receipts rain in. Messages do not pass a mailbox at all: the engine needs the commit's answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ractor::ActorRef;

use super::Msg;
use super::pacing::Heard;
use crate::actors::ledger::Ledgers;
use crate::domain::error::Result;
use crate::domain::ids::{Fence, SessionId, TenantId, WaId};
use crate::domain::time::now;
use crate::domain::write::{Inbound, InboundMessage, Write};
use crate::infra::gateway::{LinkEvent, Sink};
use crate::infra::store::Store;

/// The most events that wait for the session. More means that the store is far behind: the link is dropped, and the
/// server keeps the rest.
const EVENTS_LIMIT: usize = 65_536;

/// The sink of one link.
pub(super) struct SessionSink {
    pub(super) tenant: TenantId,
    pub(super) session: SessionId,
    pub(super) store: Arc<dyn Store>,
    pub(super) fence: Fence,
    pub(super) ledgers: Ledgers,
    pub(super) actor: ActorRef<Msg>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) heard: Arc<Heard>,
}

/// Events on their way to the session.
#[derive(Default)]
pub(super) struct Inbox {
    events: Mutex<Vec<LinkEvent>>,
    woken: AtomicBool,
}

impl Inbox {
    /// Everything that has gathered.
    pub(super) fn drain(&self) -> Vec<LinkEvent> {
        self.woken.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, event: LinkEvent) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() < EVENTS_LIMIT {
            events.push(event);
        } else if events.len() == EVENTS_LIMIT {
            events.push(LinkEvent::Unhealthy { reason: "event_overflow".into() });
        }
    }
}

#[async_trait]
impl Sink for SessionSink {
    fn event(&self, event: LinkEvent) {
        self.inbox.push(event);
        if !self.inbox.woken.swap(true, Ordering::SeqCst) && self.actor.cast(Msg::LinkEvents).is_err() {
            tracing::debug!(session.id = %self.session, "an event of a link whose session has ended");
        }
    }

    async fn inbound(&self, messages: Vec<InboundMessage>) -> Result<()> {
        // All or an error, which brings all of it again: the part that was stored is known then.
        let writes = messages.chunks(Inbound::AT_ONCE).map(|some| {
            let (fence, session, messages) = (self.fence, self.session, some.to_vec());
            Write::Inbound(Inbound { fence, session, messages, at: now() })
        });
        self.ledgers.write_by_and_by(writes).await?;
        self.heard.note(&messages);
        Ok(())
    }

    async fn has(&self, id: &WaId) -> Result<bool> {
        self.store.has_message(self.tenant, self.session, id).await
    }
}
