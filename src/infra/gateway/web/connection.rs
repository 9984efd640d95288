//! One connection of a link, from the login gate to the last of its tasks.
//!
//! What it promises: it always ends, in order and within its deadlines, whatever the engine does; how it ended is told
//! honestly; and nothing of it runs when [`Connection::serve`] has returned.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;
use whatsapp_rust::store::persistence_manager::PersistenceManager;
use whatsapp_rust::wacore::store::DevicePropsOverride;
use whatsapp_rust::wacore::store::commands::DeviceCommand;
use whatsapp_rust::wacore::store::error::StoreError;
use whatsapp_rust::wacore::store::traits::DeviceStore;
use whatsapp_rust::wacore::types::events::Subscription;
use whatsapp_rust::{Client, RawNodeLease, Runtime};

use super::Shared;
use super::again;
use super::backend::{Backend, Wanted};
use super::events::{Seen, Watcher};
use super::hook::Hook;
use super::tasks::Tasks;
use super::transport::{Dialled, Dialler, Route};
use super::trust;
use super::watchdog::Watchdog;
use crate::domain::error::{Error, Result};
use crate::infra::gateway::{LinkEnd, Sink};

/// The device is stored when it changes, and at least this often when it did.
const SAVE_EVERY: Duration = Duration::from_secs(30);
/// Reading a device and proving the buffer.
const BUILD: Duration = Duration::from_secs(60);

/// One client and all that belongs to it.
pub(super) struct Connection {
    shared: Arc<Shared>,
    backend: Arc<Backend>,
    dialler: Arc<Dialler>,
    pub(super) tasks: Arc<Tasks>,
    pub(super) client: Arc<Client>,
    pub(super) watcher: Arc<Watcher>,
    /// Whether it began without an account.
    unlinked: bool,
    ended: bool,
    _events: Subscription,
    _stanzas: RawNodeLease,
}

impl Connection {
    /// Builds a client; does not connect.
    pub(super) async fn build(
        shared: Arc<Shared>,
        route: &Route,
        backend: Arc<Backend>,
        sink: Arc<dyn Sink>,
        closing: watch::Receiver<bool>,
    ) -> Result<Self> {
        let config = &shared.config;
        let (tls, patience) = (shared.tls.clone(), config.timeouts.dial);
        let dialler = Arc::new(Dialler::new(route.clone(), tls, patience, backend.doubt()));
        let tasks = Arc::new(Tasks::default());
        let watcher = Arc::new(Watcher::new(sink.clone()));
        let hook = Hook::new(sink, watcher.clone(), backend.clone(), config.timeouts.inbound, closing);
        let building = async {
            let device = PersistenceManager::new(backend.clone()).await.map_err(unreadable)?;
            let name = DevicePropsOverride::new().with_os(config.device_name.as_str());
            device.process_command(DeviceCommand::SetDeviceProps(name)).await;
            let client = Client::builder()
                .with_runtime_arc(tasks.clone())
                .with_persistence_manager(Arc::new(device))
                .with_transport_factory_arc(dialler.clone())
                .with_http_client(shared.http.of(route))
                .with_version_override(config.client_version)
                .with_background_saver_interval(SAVE_EVERY)
                .with_wanted_pre_key_count(config.prekeys)
                .with_skip_history_sync(true)
                .with_inbound_durability_hook(hook)
                .with_cache_config(config.caches())
                .build()
                .await
                .map_err(unreadable)?;
            Ok::<_, Error>(client.into_client())
        };
        let late = || Error::unavailable("store_timeout", "the session's device could not be read in time");
        let client = timeout(BUILD, Box::pin(building)).await.map_err(|_late| late())??;
        // The session decides about the next connection, not the engine.
        client.enable_auto_reconnect.store(false, Ordering::Relaxed);
        watcher.attach(&client);
        let events = client.subscribe(Watcher::interest(), watcher.clone());
        let stanzas = client.acquire_raw_node_forwarding();
        Ok(Self {
            shared,
            backend,
            dialler,
            tasks,
            unlinked: !trust::is_linked(client.pn().as_ref()),
            client,
            watcher,
            ended: false,
            _events: events,
            _stanzas: stanzas,
        })
    }

    /// Connects and serves until it ends; holds its place at the login gate only as long as it logs in.
    pub(super) async fn serve(
        &self,
        permit: OwnedSemaphorePermit,
        mut closing: watch::Receiver<bool>,
    ) -> LinkEnd {
        let mut permit = Some(permit);
        let mut watchdog = Watchdog::new(self.shared.config.timeouts);
        let run = Box::pin(self.tasks.in_turn(self.client.run()));
        tokio::pin!(run);
        let forced = loop {
            tokio::select! {
                () = &mut run => break None,
                closed = closing.wait_for(|closing| *closing) => {
                    drop(closed);
                    break Some(LinkEnd::Closed);
                }
                wanted = self.backend.wanted() => self.ask_again(wanted),
                () = self.watcher.changed() => {}
                () = tokio::time::sleep_until(watchdog.next_look()) => {}
            }
            if let Some(end) = watchdog.look(&self.watcher.seen(), &self.client, &self.backend) {
                break Some(end);
            }
            if watchdog.is_past_login() {
                permit = None;
            }
        };
        drop(permit);
        if matches!(forced, Some(LinkEnd::Closed)) {
            self.watcher.mute();
        }
        let limit = self.shared.config.timeouts.close;
        let disconnected = async {
            // Also when the connection is gone already: it stops the client's other tasks.
            if timeout(limit, self.tasks.in_turn(self.client.disconnect())).await.is_err() {
                tracing::warn!("a connection did not end in time and is dropped");
            }
        };
        if forced.is_some() {
            let (_ended, ()) = tokio::join!(timeout(limit, &mut run), disconnected);
        } else {
            disconnected.await;
        }
        if !matches!(timeout(limit, self.settle()).await, Ok(Ok(()))) {
            tracing::warn!("what waited at the end of a connection is not stored yet");
        }
        forced.unwrap_or_else(|| self.ending())
    }

    /// Asks for messages that must come again, beside everything else.
    fn ask_again(&self, wanted: Vec<Wanted>) {
        let (client, limit) = (self.client.clone(), self.shared.config.timeouts.send);
        self.tasks.spawn_detached(Box::pin(async move {
            for message in &wanted {
                if !matches!(timeout(limit, again::ask(&client, message)).await, Ok(true)) {
                    tracing::warn!("a message could not be asked for: it comes with the next connection");
                }
            }
        }));
    }

    /// Stores what is left. The device too: the engine takes it for stored while a save of its own is still under way.
    async fn settle(&self) -> Result<(), StoreError> {
        let device = self.client.persistence_manager().get_device_snapshot().to_serializable();
        self.backend.save(&device).await?;
        self.backend.settle().await
    }

    /// The engine tells of pairing from a task of its own, which the end of the stream may overtake.
    fn look_for_pairing(&self) {
        let account = self.client.pn().filter(|pn| trust::is_linked(Some(pn)));
        if let (true, Some("515"), Some(pn)) =
            (self.unlinked, self.watcher.seen().stream_error.as_deref(), account)
        {
            self.watcher.paired(&pn, self.client.lid().as_ref());
        }
    }

    /// Lets go of it after [`Connection::serve`]; its tasks end when the last user of the client is gone.
    pub(super) fn finish(mut self) -> Arc<Tasks> {
        self.ended = true;
        self.tasks.clone()
    }

    /// Why the engine's loop returned.
    fn ending(&self) -> LinkEnd {
        self.look_for_pairing();
        let Seen { paired, connected, end, stream_error, dropped, .. } = self.watcher.seen();
        let lost = |reason: &str| LinkEnd::Lost { reason: reason.to_owned(), was_connected: connected };
        if let Some((end, _)) = end {
            return end;
        }
        if paired || stream_error.as_deref() == Some("515") {
            return LinkEnd::Again;
        }
        if let Some(code) = stream_error {
            return lost(&format!("stream_error_{code}"));
        }
        if self.dialler.is_in_doubt() {
            return lost("store_not_readable");
        }
        match (self.dialler.last(), dropped) {
            (_, Some(reason)) => lost(reason),
            (Dialled::Failed(step), None) => lost(step),
            (Dialled::No, None) => lost("connect_failed"),
            // The engine cut it itself, without a word: its own watch over a silent socket.
            (Dialled::Open, None) if self.watcher.has_heard() => lost("keepalive_timeout"),
            (Dialled::Open, None) => lost("handshake_failed"),
        }
    }
}

impl Drop for Connection {
    /// Whoever served it was killed: nobody may answer for this device any more. The socket goes first: the engine would
    /// wait for the store before, and the lease may have only moments left.
    fn drop(&mut self) {
        if self.ended || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        self.watcher.mute();
        let (client, limit) = (self.client.clone(), self.shared.config.timeouts.close);
        let dialler = self.dialler.clone();
        self.tasks.spawn_detached(Box::pin(async move {
            if timeout(limit, dialler.hang_up()).await.is_err() {
                tracing::warn!("a socket that nobody serves did not close in time");
            }
            if timeout(limit, client.disconnect()).await.is_err() {
                tracing::warn!("a connection that nobody serves did not end in time");
            }
        }));
    }
}

/// The store's own words behind an engine's error.
fn unreadable(error: impl std::error::Error + 'static) -> Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(layer) = source {
        if let Some(ours) = layer.downcast_ref::<Error>() {
            return ours.clone();
        }
        source = layer.source();
    }
    Error::unavailable("engine_unavailable", error.to_string())
}
