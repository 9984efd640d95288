//! Every knob of a sandbox, with a default that suits a laptop. Every buffer that a client can fill has its limit here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How one sandbox is started.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Where WebSocket and admin HTTP are served. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Folder that keeps the keys, accounts, links and phones across restarts. Without it they live in memory.
    pub data_dir: Option<PathBuf>,
    /// Certificate and key for `wss`; without them the sandbox speaks plain `ws`.
    pub tls: Option<TlsFiles>,
    /// A typing notice that was not ended is ended by the sandbox after this time.
    pub chatstate_ttl: Duration,
    /// Life of the first QR reference and of each of the five after it is the client's business; the sandbox
    /// forgets all references of a connection when this time is over.
    pub pairing_ttl: Duration,
    /// What may be filled, and how far.
    pub limits: Limits,
}

/// PEM files for TLS.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Certificate chain, leaf first.
    pub cert: PathBuf,
    /// Private key of the leaf.
    pub key: PathBuf,
}

/// Upper bounds. Reaching one refuses the request that would pass it; nothing grows beyond.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes in one decrypted stanza, and in one WebSocket message.
    pub frame_bytes: usize,
    /// Accounts (virtual phones).
    pub accounts: usize,
    /// Companion devices per account.
    pub devices_per_account: usize,
    /// Open TCP connections, admin included.
    pub connections: usize,
    /// Undelivered or unacknowledged stanzas per device.
    pub queue: usize,
    /// Answers waiting for a client that does not read; beyond it the link is cut.
    pub outbound: usize,
    /// One-time prekeys kept per device.
    pub prekeys: usize,
    /// Messages kept in clear per phone.
    pub inbox: usize,
    /// Message ids remembered per device as "acknowledged by receipt".
    pub receipted: usize,
    /// Faults set at the same time.
    pub faults: usize,
    /// Texts sent by one admin `send`.
    pub burst: usize,
    /// Time for TCP accept, TLS, upgrade and Noise to end in a login.
    pub handshake: Duration,
    /// A write that a client does not take within this time ends its link.
    pub write: Duration,
    /// A link that was silent for this long is dropped. Clients ping every 30 s at the latest.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 4 * 1024 * 1024,
            accounts: 5_000,
            devices_per_account: 16,
            connections: 5_000,
            queue: 50_000,
            outbound: 8_192,
            prekeys: 2_000,
            inbox: 50_000,
            receipted: 200_000,
            faults: 256,
            burst: 100_000,
            handshake: Duration::from_secs(20),
            write: Duration::from_secs(20),
            idle: Duration::from_secs(120),
        }
    }
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            data_dir: None,
            tls: None,
            chatstate_ttl: Duration::from_secs(25),
            pairing_ttl: Duration::from_secs(200),
            limits: Limits::default(),
        }
    }
}
