//! Notices a connection that lives but does not work.
//!
//! What it promises: no phase of a connection lasts for ever, and each way to be stuck has its own reason.

use std::time::Duration;

use tokio::time::Instant;
use whatsapp_rust::Client;

use super::backend::Backend;
use super::config::Timeouts;
use super::events::Seen;
use super::trust;
use crate::infra::gateway::LinkEnd;

/// Linked: the server closes the stream at once.
const AFTER_PAIRING: Duration = Duration::from_secs(30);
/// How long a pairing code lives beyond the last QR code.
const PAIRING_CODE: Duration = Duration::from_secs(240);
/// How often a ready connection is looked at, and any other.
const SLOW: Duration = Duration::from_secs(10);
const FAST: Duration = Duration::from_millis(500);

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No handshake yet.
    Connecting,
    /// Neither a QR code nor a login yet.
    Greeting,
    /// A code is on show.
    Pairing,
    /// A pairing code may still be entered.
    PairingCode,
    /// Linked, the stream is about to end.
    Paired,
    /// Logged in, the first sync is under way.
    Syncing,
    /// All is well.
    Ready,
    /// It was ready, but is logged out or has no socket.
    Stalled,
}

/// Looks after one connection.
#[derive(Debug)]
pub(super) struct Watchdog {
    timeouts: Timeouts,
    phase: Phase,
    since: Instant,
    ending: bool,
}

impl Watchdog {
    pub(super) fn new(timeouts: Timeouts) -> Self {
        Self { timeouts, phase: Phase::Connecting, since: Instant::now(), ending: false }
    }

    /// When to look again.
    pub(super) fn next_look(&self) -> Instant {
        Instant::now() + if self.phase == Phase::Ready && !self.ending { SLOW } else { FAST }
    }

    /// Whether the login gate may let the next one in.
    pub(super) fn is_past_login(&self) -> bool {
        !matches!(self.phase, Phase::Connecting | Phase::Greeting | Phase::Syncing)
    }

    /// Looks; answers why the connection must end, if it must.
    pub(super) fn look(&mut self, seen: &Seen, client: &Client, backend: &Backend) -> Option<LinkEnd> {
        self.ending = seen.end.is_some();
        if let Some((end, at)) = &seen.end
            && *at <= Instant::now()
        {
            return Some(end.clone());
        }
        let lost =
            |reason: &str| Some(LinkEnd::Lost { reason: reason.to_owned(), was_connected: seen.connected });
        if client.persistence_manager().is_saver_halted() {
            return lost("saver_halted");
        }
        if backend.is_fenced() {
            return lost("fenced");
        }
        let phase = phase(seen, client);
        if phase != self.phase {
            (self.phase, self.since) = (phase, Instant::now());
        }
        let (limit, reason) = match phase {
            Phase::Ready => return None,
            Phase::Connecting => (self.timeouts.connect, "connect_timeout"),
            Phase::Greeting => (self.timeouts.login, "login_timeout"),
            Phase::Pairing => (self.timeouts.pairing, "qr_exhausted"),
            Phase::PairingCode => (PAIRING_CODE, "qr_exhausted"),
            Phase::Paired => (AFTER_PAIRING, ""),
            Phase::Syncing => (self.timeouts.ready, "ready_timeout"),
            Phase::Stalled => (self.timeouts.stall, "stalled"),
        };
        if self.since.elapsed() < limit {
            return None;
        }
        match (phase, &seen.stream_error) {
            (Phase::Paired, _) => Some(LinkEnd::Again),
            (Phase::Pairing | Phase::PairingCode, _) => Some(LinkEnd::Fatal { reason: reason.to_owned() }),
            (Phase::Stalled, Some(code)) => lost(&format!("stream_error_{code}")),
            _ => lost(reason),
        }
    }
}

fn phase(seen: &Seen, client: &Client) -> Phase {
    let (socket, login) = (client.is_connected(), client.is_logged_in());
    match () {
        () if seen.connected && socket && login => Phase::Ready,
        () if seen.connected => Phase::Stalled,
        () if seen.paired => Phase::Paired,
        () if !socket => Phase::Connecting,
        () if login => Phase::Syncing,
        () if seen.qr_over => Phase::PairingCode,
        () if seen.qr && !trust::is_linked(client.pn().as_ref()) => Phase::Pairing,
        () => Phase::Greeting,
    }
}
