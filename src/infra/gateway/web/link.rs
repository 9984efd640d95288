//! One account's link: a connection at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::timeout;
use whatsapp_rust::pair_code::{PairCodeError, PairCodeOptions, PairError};
use whatsapp_rust::wacore::iq::devices::RemoveCompanionDeviceSpec;
use whatsapp_rust::wacore::pair_code::PairCodeUtils;
use whatsapp_rust::{Client, IqError, Jid};

use super::Shared;
use super::backend::Backend;
use super::connection::Connection;
use super::events::Watcher;
use super::tasks::Tasks;
use super::transport::Route;
use super::{send, trust};
use crate::domain::address::{Address, Server};
use crate::domain::error::{Error, Result};
use crate::domain::time::{Timestamp, now};
use crate::domain::write::NewMessage;
use crate::infra::gateway::{Link, LinkEnd, SendError, Sink};

/// Asking the server to unlink.
const LOGOUT: Duration = Duration::from_secs(10);
/// For the last tasks of a connection, once everything is told to stop.
const LAST_TASKS: Duration = Duration::from_secs(1);
/// How often a wait for the QR code looks.
const LOOK: Duration = Duration::from_millis(50);

/// What others may use while a connection lives.
#[derive(Clone)]
struct Live {
    client: Arc<Client>,
    watcher: Arc<Watcher>,
    tasks: Arc<Tasks>,
}

/// A link through whatsapp-rust.
pub(super) struct WebLink {
    pub(super) shared: Arc<Shared>,
    pub(super) route: Route,
    pub(super) backend: Arc<Backend>,
    pub(super) sink: Arc<dyn Sink>,
    live: Mutex<Option<Live>>,
    closing: watch::Sender<bool>,
    /// Of the last connection: they end before the next one begins, even when nobody waited for it.
    tasks: Mutex<Arc<Tasks>>,
    running: tokio::sync::Mutex<()>,
}

impl WebLink {
    pub(super) fn new(shared: Arc<Shared>, route: Route, backend: Arc<Backend>, sink: Arc<dyn Sink>) -> Self {
        Self {
            shared,
            route,
            backend,
            sink,
            live: Mutex::new(None),
            closing: watch::Sender::new(false),
            tasks: Mutex::default(),
            running: tokio::sync::Mutex::new(()),
        }
    }

    fn live(&self) -> Option<Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_live(&self, live: Option<Live>) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = live;
    }

    async fn connect(&self, closing: watch::Receiver<bool>) -> Result<Connection> {
        let (shared, backend, sink) = (self.shared.clone(), self.backend.clone(), self.sink.clone());
        Connection::build(shared, &self.route, backend, sink, closing).await
    }

    /// The connection, once it shows a QR code.
    async fn unlinked(&self) -> Result<Live> {
        loop {
            if *self.closing.borrow() {
                return Err(not_connected());
            }
            if let Some(live) = self.live() {
                let seen = live.watcher.seen();
                if seen.connected || trust::is_linked(live.client.pn().as_ref()) {
                    return Err(Error::conflict(
                        "already_linked",
                        "the session is linked to an account already",
                    ));
                }
                if seen.qr || seen.qr_over {
                    return Ok(live);
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[async_trait]
impl Link for WebLink {
    async fn run(&self) -> LinkEnd {
        let _one = self.running.lock().await;
        let mut closing = self.closing.subscribe();
        let permit = tokio::select! {
            biased;
            _closed = closing.wait_for(|closing| *closing) => return LinkEnd::Closed,
            permit = self.shared.gate.clone().acquire_owned() => permit,
        };
        let Ok(permit) = permit else { return LinkEnd::Closed };
        let last = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !last.idle(LAST_TASKS).await {
            tracing::debug!(tasks = last.alive(), "tasks of the connection before still run");
        }
        let connection = match Box::pin(self.connect(closing.clone())).await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(session = %self.backend.account().session, %error, "a session's device is not to be had");
                return LinkEnd::Lost { reason: error.code.to_owned(), was_connected: false };
            }
        };
        *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) = connection.tasks.clone();
        self.set_live(Some(Live {
            client: connection.client.clone(),
            watcher: connection.watcher.clone(),
            tasks: connection.tasks.clone(),
        }));
        let end = Box::pin(connection.serve(permit, closing)).await;
        self.set_live(None);
        let tasks = connection.finish();
        if !tasks.idle(LAST_TASKS).await {
            tracing::debug!(tasks = tasks.alive(), "tasks of an ended connection still run");
        }
        if *self.closing.borrow() { LinkEnd::Closed } else { end }
    }

    async fn send(&self, message: &NewMessage) -> Result<(), SendError> {
        let live = self.live().filter(|live| live.watcher.seen().connected && live.client.is_logged_in());
        let Some(Live { client, watcher, tasks }) = live else {
            return Err(SendError::NotNow("the session is not connected".to_owned()));
        };
        let limit = self.shared.config.timeouts.send;
        if let Ok(sent) = timeout(limit, tasks.in_turn(send::send(&client, message))).await {
            return sent;
        }
        // Whatever it waits for, others wait for it too: only a new connection helps.
        watcher.cut(LinkEnd::Lost { reason: "send_stuck".to_owned(), was_connected: true });
        Err(SendError::NotNow("the connection did not take the message in time".to_owned()))
    }

    async fn pairing_code(&self, phone: &Address, within: Duration) -> Result<(String, Timestamp)> {
        if phone.server() != Server::Phone {
            return Err(Error::invalid("phone", "invalid_address", "must be a phone number"));
        }
        let late = || Error::unavailable("pairing_timeout", "WhatsApp did not give a pairing code in time");
        let ask = async {
            let live = self.unlinked().await?;
            let options =
                PairCodeOptions { phone_number: phone.user().to_owned(), ..PairCodeOptions::default() };
            // Whoever asks again wants a new one; the engine refuses a second code beside the first.
            live.client.cancel_pair_code().await;
            Box::pin(live.client.pair_with_code(options)).await.map_err(|error| refusal(&error))
        };
        let code = timeout(within, ask).await.map_err(|_late| late())??;
        Ok((code, now().after(PairCodeUtils::code_validity())))
    }

    async fn logout(&self) -> Result<()> {
        let Live { client, watcher, .. } = self.live().ok_or_else(not_connected)?;
        let me: Jid = client.pn().filter(|pn| trust::is_linked(Some(pn))).ok_or_else(not_connected)?;
        watcher.expect_logout(true);
        match timeout(LOGOUT, client.execute(RemoveCompanionDeviceSpec::new(&me))).await {
            Ok(Ok(())) => {}
            // The server may close the stream before it answers: then it has done what was asked.
            Ok(Err(_)) if matches!(watcher.seen().end, Some((LinkEnd::LoggedOut { .. }, _))) => {}
            failed => {
                watcher.expect_logout(false);
                let reason = if failed.is_ok() { "refused" } else { "no answer in time" };
                return Err(Error::unavailable(
                    "logout_failed",
                    format!("the device is still linked: {reason}"),
                ));
            }
        }
        watcher.end(LinkEnd::LoggedOut { reason: "requested".to_owned() });
        Ok(())
    }

    async fn close(&self, within: Duration) {
        self.closing.send_replace(true);
        if timeout(within, self.running.lock()).await.is_err() {
            tracing::warn!("a link did not close in time; it writes nothing any more");
        }
        if let Some(live) = self.live() {
            live.watcher.mute();
            live.client.signal_shutdown_sync();
        }
        self.backend.seal();
    }
}

fn not_connected() -> Error {
    Error::unavailable("not_connected", "the session has no live connection")
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the engine's list grows; what we do not know may pass")]
fn refusal(error: &PairError) -> Error {
    match error {
        PairError::PairCode(PairCodeError::PhoneNumberRequired | PairCodeError::PhoneNumberTooShort) => {
            Error::invalid("phone", "invalid_address", "is too short for a phone number")
        }
        PairError::PairCode(PairCodeError::PhoneNumberNotInternational) => {
            Error::invalid("phone", "invalid_address", "must start with a country code")
        }
        PairError::RequestFailed(IqError::ServerError { code: 400, .. }) => {
            Error::invalid("phone", "phone_refused", "WhatsApp does not take this number")
        }
        PairError::RequestFailed(iq) => Error::unavailable("pairing_refused", iq.to_string()),
        other => Error::unavailable("pairing_failed", other.to_string()),
    }
}
