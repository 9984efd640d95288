//! What the engine tells while a connection lives, and what it means in the end.
//!
//! What it promises: the first reason to end is kept; nothing here waits; and after [`Watcher::mute`] the sink hears
//! nothing more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use whatsapp_rust::wacore::net::DisconnectReason;
use whatsapp_rust::wacore::types::events::{
    ConnectFailureReason, Event, EventHandler, EventInterest, EventKind, LoggedOut, Receipt, ServerAck,
};
use whatsapp_rust::wacore::types::presence::ReceiptType;
use whatsapp_rust::wacore_binary::{Node, NodeRef};
use whatsapp_rust::{Client, Jid};

use super::inbound::address;
use crate::domain::ids::WaId;
use crate::domain::message::MessageState;
use crate::domain::time::{Timestamp, now};
use crate::infra::gateway::{LinkEnd, LinkEvent, REPLACED, Sink};

/// How long the engine may take to end a connection of which it knows that it is over.
const GRACE: Duration = Duration::from_secs(3);

/// What has been seen of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// A QR code was shown.
    pub(super) qr: bool,
    /// No QR code is left, but a pairing code may still be entered.
    pub(super) qr_over: bool,
    /// Linked to an account.
    pub(super) paired: bool,
    /// Logged in and ready.
    pub(super) connected: bool,
    /// Why it is over, and when it is ended if the engine has not ended it by then.
    pub(super) end: Option<(LinkEnd, Instant)>,
    /// The last `<stream:error>`'s code.
    pub(super) stream_error: Option<String>,
    /// How the socket ended, when that was not expected.
    pub(super) dropped: Option<&'static str>,
}

/// Listens to one client.
pub(super) struct Watcher {
    sink: Arc<dyn Sink>,
    client: OnceLock<Weak<Client>>,
    seen: Mutex<Seen>,
    changed: Notify,
    muted: AtomicBool,
    /// Whether any stanza came: the handshake is done.
    heard: AtomicBool,
    /// Whether we asked to be unlinked.
    leaving: AtomicBool,
}

impl Watcher {
    pub(super) fn new(sink: Arc<dyn Sink>) -> Self {
        Self {
            sink,
            client: OnceLock::new(),
            seen: Mutex::default(),
            changed: Notify::new(),
            muted: AtomicBool::new(false),
            heard: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
        }
    }

    /// The kinds of events it wants.
    pub(super) fn interest() -> EventInterest {
        EventInterest::of(&[
            EventKind::PairingQrCode,
            EventKind::PairingQrCodesExhausted,
            EventKind::PairSuccess,
            EventKind::PairPasskeyRequest,
            EventKind::Connected,
            EventKind::Disconnected,
            EventKind::LoggedOut,
            EventKind::StreamReplaced,
            EventKind::TemporaryBan,
            EventKind::ClientOutdated,
            EventKind::ConnectFailure,
            EventKind::ServerAck,
            EventKind::Receipt,
            EventKind::RawNode,
        ])
    }

    /// Names the client whose identity is told.
    pub(super) fn attach(&self, client: &Arc<Client>) {
        if self.client.set(Arc::downgrade(client)).is_err() {
            tracing::debug!("a watcher watches one client");
        }
    }

    pub(super) fn seen(&self) -> Seen {
        self.look().clone()
    }

    /// Waits for something new.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The connection is over and the engine knows it: it is given a moment to end by itself.
    pub(super) fn end(&self, end: LinkEnd) {
        self.note(|seen| {
            seen.end.get_or_insert_with(|| (end, Instant::now() + GRACE));
        });
    }

    /// Ends the connection at once, because we say so; a reason that was there before stays.
    pub(super) fn cut(&self, end: LinkEnd) {
        self.note(|seen| seen.end.get_or_insert_with(|| (end, Instant::now())).1 = Instant::now());
    }

    /// Linked to an account. Told once, whoever notices first.
    pub(super) fn paired(&self, pn: &Jid, lid: Option<&Jid>) {
        let known = std::mem::replace(&mut self.look().paired, true);
        self.changed.notify_one();
        if let (false, Some(pn)) = (known, address(pn)) {
            self.tell(LinkEvent::Paired { pn, lid: lid.and_then(address) });
        }
    }

    /// Whether the server has said anything yet.
    pub(super) fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Acquire)
    }

    /// Being unlinked is what was asked for, or is not any more.
    pub(super) fn expect_logout(&self, expected: bool) {
        self.leaving.store(expected, Ordering::Release);
    }

    /// Tells the sink nothing any more.
    pub(super) fn mute(&self) {
        self.muted.store(true, Ordering::Release);
    }

    fn look(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: LinkEvent) {
        if !self.muted.load(Ordering::Acquire) {
            self.sink.event(event);
        }
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.look());
        self.changed.notify_one();
    }

    fn connected(&self) {
        self.note(|seen| seen.connected = true);
        let client = self.client.get().and_then(Weak::upgrade);
        let (pn, lid, push_name) = client.map_or((None, None, None), |client| {
            let address = |jid: Option<_>| jid.as_ref().and_then(address);
            (address(client.pn()), address(client.lid()), Some(client.push_name()))
        });
        let push_name = push_name.filter(|name| !name.is_empty());
        self.tell(LinkEvent::Connected { pn, lid, push_name });
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the engine's list grows; what we do not know moves no message"
    )]
    fn receipt(&self, receipt: &Receipt) {
        let state = match receipt.r#type {
            ReceiptType::Delivered | ReceiptType::Inactive => MessageState::Delivered,
            ReceiptType::Read => MessageState::Read,
            ReceiptType::Played => MessageState::Played,
            // Of our own devices, or between engines.
            _ => return,
        };
        let wa_ids = receipt.message_ids.iter().cloned().map(WaId).collect();
        self.tell(LinkEvent::Receipt { wa_ids, state, at: Timestamp(receipt.timestamp.timestamp_millis()) });
    }

    fn ack(&self, ack: &ServerAck) {
        if ack.class.as_deref() != Some("message") {
            return;
        }
        let error = ack.error.as_ref().map(|code| code.parse().unwrap_or_default());
        let at = ack.timestamp.map_or_else(now, |at| Timestamp(at.timestamp_millis()));
        self.tell(LinkEvent::Ack { wa_id: WaId(ack.id.clone()), error, at });
    }

    fn stanza(&self, node: &NodeRef<'_>) {
        self.heard.store(true, Ordering::Release);
        if node.tag.as_ref() != "stream:error" {
            return;
        }
        let code = node.attrs().optional_string("code").map(|code| code.into_owned());
        self.note(|seen| seen.stream_error = Some(code.unwrap_or_else(|| "unnamed".to_owned())));
    }
}

impl EventHandler for Watcher {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the engine's list is open, and `interest` names what comes"
    )]
    fn handle_event(&self, event: Arc<Event>) {
        match &*event {
            Event::RawNode(node) => self.stanza(node.get()),
            Event::ServerAck(ack) => self.ack(ack),
            Event::Receipt(receipt) => self.receipt(receipt),
            Event::PairingQrCode(qr) => {
                self.note(|seen| seen.qr = true);
                self.tell(LinkEvent::Qr { code: qr.code.clone(), expires_at: now().after(qr.timeout) });
            }
            Event::PairingQrCodesExhausted(over) if over.disconnected => self.end(fatal("qr_exhausted")),
            Event::PairingQrCodesExhausted(_) => self.note(|seen| seen.qr_over = true),
            Event::PairSuccess(success) => self.paired(&success.id, Some(&success.lid)),
            Event::PairPasskeyRequest(_) => self.tell(LinkEvent::PasskeyRequired),
            Event::Connected(_) => self.connected(),
            Event::Disconnected(how) => self.note(|seen| seen.dropped = Some(drop_reason(&how.reason))),
            Event::LoggedOut(how) => {
                let requested = self.leaving.load(Ordering::Acquire);
                let reason = if requested { "requested".to_owned() } else { logout_reason(how) };
                self.end(LinkEnd::LoggedOut { reason });
            }
            Event::StreamReplaced(_) => self.end(fatal(REPLACED)),
            Event::TemporaryBan(_) => self.end(fatal("banned")),
            Event::ClientOutdated(_) => self.end(fatal("client_outdated")),
            Event::ConnectFailure(failure) => self.end(refused(failure.reason)),
            _ => {}
        }
    }
}

fn fatal(reason: &str) -> LinkEnd {
    LinkEnd::Fatal { reason: reason.to_owned() }
}

fn drop_reason(reason: &DisconnectReason) -> &'static str {
    match reason {
        DisconnectReason::ServerClose { .. } | DisconnectReason::StreamEnded => "server_closed",
        DisconnectReason::ReadError(_) => "read_error",
        DisconnectReason::Unknown => "disconnected",
    }
}

/// Why an account was unlinked: by a phone, or by the server at login.
fn logout_reason(how: &LoggedOut) -> String {
    if how.on_connect {
        return format!("login_{}", how.reason.code());
    }
    let removed = |node: &Node| {
        let conflict = node.get_optional_child("conflict");
        let by_phone = conflict
            .is_some_and(|conflict| conflict.attrs.get("type").is_some_and(|it| it == "device_removed"));
        by_phone || node.attrs.get("code").is_some_and(|code| code == "516")
    };
    if how.raw.as_ref().is_some_and(removed) { "device_removed" } else { "logged_out" }.to_owned()
}

/// What a refused login means: the server's own trouble passes, a request it will never take does not.
fn refused(reason: ConnectFailureReason) -> LinkEnd {
    let code = reason.code();
    match code {
        402 => fatal("banned"),
        400..=499 if !matches!(code, 408 | 425 | 429) => fatal(&format!("login_{code}")),
        _ => LinkEnd::Lost { reason: format!("login_{code}"), was_connected: false },
    }
}
