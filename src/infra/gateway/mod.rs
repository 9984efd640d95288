//! How a session reaches WhatsApp: one port, whatever carries it.
//!
//! What every adapter promises:
//! * [`Sink::inbound`] has returned `Ok` before WhatsApp is told that a message was received.
//! * A message is sent under the id it was given; `Ok` from [`Link::send`] means *handed to the wire*, the server's
//!   acknowledgement comes as [`LinkEvent::Ack`].
//! * [`Link::run`] serves one connection and returns when it ends; whoever called it decides about the next.
//! * After [`Link::close`] nothing of the link runs any more.

pub mod web;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::address::Address;
use crate::domain::error::Result;
use crate::domain::ids::{Fence, SessionId, TenantId, WaId};
use crate::domain::message::MessageState;
use crate::domain::session::Endpoint;
use crate::domain::time::Timestamp;
use crate::domain::write::{InboundMessage, NewMessage};

/// Which account to open, for whom, by what right.
#[derive(Clone, Debug)]
pub struct Account {
    /// Whose.
    pub tenant: TenantId,
    /// Which session.
    pub session: SessionId,
    /// The right to write for it.
    pub fence: Fence,
    /// Which WhatsApp.
    pub endpoint: Endpoint,
}

/// Why one connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEnd {
    /// The other side or the network closed it: try again, with backoff.
    Lost {
        /// A stable code: `connect_failed`, `keepalive_timeout`, `server_closed`, `stream_error_503`…
        reason: String,
        /// Whether it had logged in.
        was_connected: bool,
    },
    /// Linked just now, or told to reconnect (515): try again at once.
    Again,
    /// Unlinked, by a phone or by the server.
    LoggedOut {
        /// A stable code: `logged_out`, `device_removed`, `login_401`…
        reason: String,
    },
    /// Only a person can mend it: `replaced`, `banned`, `client_outdated`, `qr_exhausted`…
    Fatal {
        /// A stable code.
        reason: String,
    },
    /// [`Link::close`] was called.
    Closed,
}

/// Why a link is over when another login of the same device took its place.
pub const REPLACED: &str = "replaced";

/// What a link tells its session while it runs.
#[derive(Clone, Debug)]
pub enum LinkEvent {
    /// A QR code to show.
    Qr {
        /// Its text.
        code: String,
        /// Until when.
        expires_at: Timestamp,
    },
    /// Linked to an account; a new connection follows.
    Paired {
        /// By phone address.
        pn: Address,
        /// By LID.
        lid: Option<Address>,
    },
    /// Logged in and ready to send.
    Connected {
        /// By phone address.
        pn: Option<Address>,
        /// By LID.
        lid: Option<Address>,
        /// The account's own name.
        push_name: Option<String>,
    },
    /// The phone asks for a passkey.
    PasskeyRequired,
    /// WhatsApp's server took a message, or refused it with a code.
    Ack {
        /// Which.
        wa_id: WaId,
        /// The refusal, `463`….
        error: Option<u16>,
        /// When.
        at: Timestamp,
    },
    /// A recipient's device has, read or played messages.
    Receipt {
        /// Which.
        wa_ids: Vec<WaId>,
        /// What they are now.
        state: MessageState,
        /// When.
        at: Timestamp,
    },
    /// The link must be rebuilt although the socket lives: `saver_halted`, `decrypt_stuck`…
    Unhealthy {
        /// A stable code.
        reason: String,
    },
}

/// Where a link delivers. `event` must not block; `inbound` commits before it returns.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Something happened. Called on the engine's own dispatch path.
    fn event(&self, event: LinkEvent);
    /// Messages came in; `Ok` means they are durable and WhatsApp may be told.
    async fn inbound(&self, messages: Vec<InboundMessage>) -> Result<()>;
    /// Whether a message with this id came in before and is durable.
    async fn has(&self, id: &WaId) -> Result<bool>;
}

/// Why a message was not handed to the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// It can never be sent: a stable code and a sentence.
    Refused {
        /// `not_on_whatsapp`, `too_large`…
        code: String,
        /// For people.
        reason: String,
    },
    /// Not now: the link is down or the store does not answer. The message stays queued.
    NotNow(String),
}

/// One account's way to WhatsApp. Serves one connection at a time.
#[async_trait]
pub trait Link: Send + Sync + 'static {
    /// Connects, logs in or shows QR codes, and serves until the connection ends.
    async fn run(&self) -> LinkEnd;
    /// Encrypts and hands to the wire, under the given id.
    async fn send(&self, message: &NewMessage) -> Result<(), SendError>;
    /// Asks for a code that a person enters on the phone with this number.
    async fn pairing_code(&self, phone: &Address, within: Duration) -> Result<(String, Timestamp)>;
    /// Unlinks from the account; the credentials stay for [`super::store::Store`] to wipe.
    async fn logout(&self) -> Result<()>;
    /// Ends it for good. Returns when nothing of it runs any more, or at the deadline.
    async fn close(&self, within: Duration);
}

/// Opens links.
#[async_trait]
pub trait Gateway: Send + Sync + 'static {
    /// Prepares a link; does not connect.
    async fn open(&self, account: Account, sink: Arc<dyn Sink>) -> Result<Arc<dyn Link>>;
}
