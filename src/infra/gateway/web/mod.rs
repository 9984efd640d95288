//! WhatsApp itself, through whatsapp-rust, behind the [`Gateway`](super::Gateway) port.
//!
//! What it promises, beyond the port:
//! * The session decides about every reconnect; the engine's own is off. Each connection is a new client, and the old
//!   one has ended before the next begins.
//! * Only so many sessions log in at one time ([`WebConfig::logins`]).
//! * A connection that lives but does not work is ended, with a reason ([`watchdog`]).
//! * A sandbox is trusted by its pinned key alone, and the real WhatsApp by its certificate alone ([`trust`]).
//! * Credentials are encrypted at rest ([`backend`]).
//!
//! ```text
//! WebGateway ── open ──▶ WebLink ── run ──▶ Connection ──▶ the engine's client
//!                           │                  ├ Watcher    events → Sink::event, and why it ended
//!                           │                  ├ Hook       messages → Sink::inbound, then the ack
//!                           │                  ├ Watchdog   deadlines of every phase
//!                           │                  └ Dialler    the socket
//!                           └ Backend          the engine's storage → Store, AuthWriter
//! ```

mod again;
mod backend;
mod config;
mod connection;
mod events;
mod hook;
mod http_client;
mod inbound;
mod link;
mod muzzle;
mod send;
mod socket;
mod tasks;
#[cfg(test)]
mod tests;
mod transport;
pub mod trust;
mod watchdog;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use whatsapp_rust::transport::{Connector, default_tls_connector};

pub use config::{Timeouts, WebConfig};

use super::{Account, Gateway, Link, Sink};
use crate::domain::error::Result;
use crate::domain::write::AuthWrite;
use crate::infra::store::Store;
use crate::infra::vault::Vault;
use backend::Backend;
use http_client::Http;
use link::WebLink;
use transport::Route;

/// Where credentials are written: durable when it returns. In the service this is the Ledger.
#[async_trait]
pub trait AuthWriter: Send + Sync + 'static {
    /// One write, in full or not at all.
    async fn write(&self, write: AuthWrite) -> Result<()>;
}

/// What all links have in common.
struct Shared {
    config: WebConfig,
    http: Http,
    tls: Arc<Connector>,
    gate: Arc<Semaphore>,
}

/// Opens links through whatsapp-rust.
pub struct WebGateway {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    auth: Arc<dyn AuthWriter>,
    vault: Arc<Vault>,
}

impl fmt::Debug for WebGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebGateway").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl WebGateway {
    /// A gateway that reads credentials from the store and writes them through `auth`.
    ///
    /// # Errors
    /// `Bug` when there is no TLS to be had.
    pub fn new(
        config: WebConfig,
        store: Arc<dyn Store>,
        auth: Arc<dyn AuthWriter>,
        vault: Arc<Vault>,
    ) -> Result<Arc<Self>> {
        // The engine's own connector: it also makes ring the process's provider, which HTTP needs.
        let tls = Arc::new(default_tls_connector());
        let http = Http::new()?;
        let gate = Arc::new(Semaphore::new(config.logins.max(1)));
        let shared = Arc::new(Shared { config, http, tls, gate });
        Ok(Arc::new(Self { shared, store, auth, vault }))
    }

    /// How many more sessions may log in right now.
    #[must_use]
    pub fn free_logins(&self) -> usize {
        self.shared.gate.available_permits()
    }
}

#[async_trait]
impl Gateway for WebGateway {
    async fn open(&self, account: Account, sink: Arc<dyn Sink>) -> Result<Arc<dyn Link>> {
        let route = Route::to(&account.endpoint)?;
        let vault = self.vault.session(account.session)?;
        let backend = Backend::new(account, self.store.clone(), self.auth.clone(), sink.clone(), vault)?;
        Ok(Arc::new(WebLink::new(self.shared.clone(), route, Arc::new(backend), sink)))
    }
}
