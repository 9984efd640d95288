//! A connection that has no device yet.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::Linked;
use crate::account::device::Keys;
use crate::account::mailbox::Mailbox;
use crate::account::{Account, lock};
use crate::error::SandboxError;

/// How a linking ended; `None` while it has not.
pub(crate) type Outcome = Option<Result<Linked, SandboxError>>;

/// A client that shows a QR code or a pairing code.
pub(crate) struct Candidate {
    pub(crate) noise: [u8; 32],
    pub(crate) mailbox: Arc<Mailbox>,
    /// Keys out of the registration payload; the engine's pinned clients upload theirs after the first login instead.
    pub(crate) keys: Option<Keys>,
    /// Push name out of the registration payload.
    pub(crate) name: Option<String>,
    state: Mutex<State>,
    outcome: watch::Sender<Outcome>,
}

#[derive(Default)]
struct State {
    offer: Option<Offer>,
    code: Option<CodeHello>,
}

/// What the phone has signed, waiting for the companion's signature.
pub(crate) struct Offer {
    pub(crate) account: Arc<Account>,
    pub(crate) device: u16,
    pub(crate) identity: [u8; 32],
}

/// What the companion said when it asked for a pairing code.
#[derive(Clone)]
pub(crate) struct CodeHello {
    pub(crate) wrapped: Vec<u8>,
    pub(crate) reference: Vec<u8>,
    /// The phone that entered the code; known from then on.
    pub(crate) account: Option<Arc<Account>>,
}

impl Candidate {
    pub(crate) fn new(
        noise: [u8; 32],
        mailbox: Arc<Mailbox>,
        keys: Option<Keys>,
        name: Option<String>,
    ) -> Self {
        Self { noise, mailbox, keys, name, state: Mutex::default(), outcome: watch::channel(None).0 }
    }

    /// Sets the offer; false if one is open already.
    pub(crate) fn offer(&self, offer: Offer) -> bool {
        let mut state = lock(&self.state);
        if state.offer.is_some() {
            return false;
        }
        state.offer = Some(offer);
        true
    }

    pub(crate) fn has_offer(&self) -> bool {
        lock(&self.state).offer.is_some()
    }

    pub(crate) fn take_offer(&self) -> Option<Offer> {
        lock(&self.state).offer.take()
    }

    pub(crate) fn set_code(&self, hello: CodeHello) {
        lock(&self.state).code = Some(hello);
    }

    pub(crate) fn code(&self) -> Option<CodeHello> {
        lock(&self.state).code.clone()
    }

    pub(crate) fn finish(&self, outcome: Result<Linked, SandboxError>) {
        self.outcome.send_replace(Some(outcome));
    }

    /// How the linking ended. Subscribe before it is started.
    pub(crate) fn outcome(&self) -> watch::Receiver<Outcome> {
        self.outcome.subscribe()
    }
}
