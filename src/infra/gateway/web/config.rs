//! What the gateway may be told, with defaults that suit a small machine.

use std::time::Duration;

use whatsapp_rust::{CacheConfig, CacheEntryConfig, MsgSecretPolicy};

/// Settings of the whole gateway.
#[derive(Clone, Debug)]
pub struct WebConfig {
    /// The version of WhatsApp Web that sessions present. Always set, so that nothing is fetched to connect.
    pub client_version: (u32, u32, u32),
    /// How many sessions may log in at one time.
    pub logins: usize,
    /// How many one-time prekeys a new device uploads.
    pub prekeys: usize,
    /// Whether secrets of messages are kept: needed to read votes and encrypted edits, costs a write per message.
    pub keep_message_secrets: bool,
    /// How the linked device is called on the phone.
    pub device_name: String,
    /// How long things may take.
    pub timeouts: Timeouts,
}

/// How long things may take before they count as failed.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Each step to an open socket.
    pub dial: Duration,
    /// From the start to a finished handshake.
    pub connect: Duration,
    /// From there to a QR code or a login.
    pub login: Duration,
    /// From there until messages can be sent.
    pub ready: Duration,
    /// A QR or pairing code on show.
    pub pairing: Duration,
    /// A live connection that is logged out or without a socket.
    pub stall: Duration,
    /// Handing one message to the wire.
    pub send: Duration,
    /// Making a batch of received messages durable.
    pub inbound: Duration,
    /// Ending a connection in order.
    pub close: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            dial: seconds(10),
            connect: seconds(45),
            login: seconds(45),
            // The engine gives up on the first sync itself after 180 s.
            ready: seconds(200),
            pairing: seconds(600),
            stall: seconds(20),
            send: seconds(30),
            inbound: seconds(15),
            close: seconds(8),
        }
    }
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            client_version: (2, 3000, 1_042_742_319),
            logins: 32,
            prekeys: 60,
            keep_message_secrets: false,
            device_name: "Recado".to_owned(),
            timeouts: Timeouts::default(),
        }
    }
}

impl WebConfig {
    /// The engine's caches. They start empty: these numbers bound what one busy session may hold.
    pub(super) fn caches(&self) -> CacheConfig {
        let bound =
            |minutes: u64, entries| CacheEntryConfig::new(Some(Duration::from_secs(minutes * 60)), entries);
        CacheConfig {
            group_cache: bound(60, 64),
            device_registry_cache: bound(60, 2048),
            message_retry_counts: bound(60, 256),
            undecryptable_dispatched: bound(5, 256),
            pdo_pending_requests: bound(1, 64),
            pdo_requested: bound(24 * 60, 256),
            sender_key_devices_cache: bound(60, 128),
            session_recreate_history: bound(60, 64),
            session_locks_capacity: 2048,
            chat_lanes_capacity: 1024,
            group_distribution_locks_capacity: 64,
            resend_rate_limiter_capacity: 512,
            msg_secret_policy: if self.keep_message_secrets {
                MsgSecretPolicy::Managed
            } else {
                MsgSecretPolicy::Disabled
            },
            seed_msg_secrets_from_history: false,
            ..CacheConfig::default()
        }
    }
}
