//! The session's link: at most one, opened and closed in turn.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ractor::{Actor, ActorCell, ActorId, ActorRef, RpcReplyPort};

use super::link::{self, CLOSE_WITHIN, Link};
use super::sink::{Inbox, SessionSink};
use super::{Msg, State};
use crate::actors::task::{self, ChildTask};
use crate::domain::address::Address;
use crate::domain::error::{Error, Result};
use crate::domain::pacing::Refusal;
use crate::domain::session::{SessionInput, SessionState};
use crate::domain::time::{Timestamp, now};
use crate::domain::view::SessionView;
use crate::domain::write::{LinkChange, Write};
use crate::infra::gateway::{self, Account, LinkEnd, LinkEvent, REPLACED};

/// How long a person waits for a pairing code.
const PAIRING_WITHIN: std::time::Duration = std::time::Duration::from_secs(20);

/// A connection up to this long counts as a failed try: the next one waits longer.
const STABLE_AFTER: std::time::Duration = std::time::Duration::from_secs(30);

/// For so long after a session was taken over, its owner before may still be about to log in: it hung with the login on
/// its way, and learns only with the next look at its lease that the session is no longer its own.
const CONTESTED: std::time::Duration = std::time::Duration::from_secs(60);

/// How often in a row the server may ask for a new connection at once; linking takes one or two.
const AGAINS: u32 = 3;

/// What to do when the link that is closing is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing: the session rests.
    #[default]
    Rest,
    /// Open the next one at once.
    Open,
    /// Forget the account's credentials: it is unlinked.
    Wipe,
    /// Forget the session.
    Delete,
}

/// An open link and its actor.
struct Open {
    link: Arc<dyn gateway::Link>,
    cell: ActorCell,
    unlink: Arc<AtomicBool>,
    /// Why the engine ended it.
    end: Arc<Mutex<Option<LinkEnd>>>,
    closing: bool,
}

/// A session that is killed while its link closes has a link that is stopping. ractor kills those below a killed actor
/// only when they are not stopping yet, so the socket would stay open for as long as the close takes, past the lease.
impl Drop for Open {
    fn drop(&mut self) {
        self.cell.kill();
    }
}

/// The link, if any, and what is planned.
#[derive(Default)]
pub(super) struct Connection {
    /// Counts links, so that the late word of an older one is known as such.
    pub(super) generation: u64,
    pub(super) inbox: Arc<Inbox>,
    /// Events taken from the inbox and not yet recorded: kept while the store does not answer.
    backlog: VecDeque<LinkEvent>,
    link: Option<Open>,
    after: After,
    /// Tries since the last stable connection.
    tries: u32,
    /// Times in a row that the server asked for a new connection at once.
    agains: u32,
    connected_at: Option<tokio::time::Instant>,
    /// When the session was taken over with a link to be opened again, until it was contested.
    taken_over: Option<tokio::time::Instant>,
    timer: Option<ChildTask>,
}

impl Connection {
    /// The link while one is open, also while it closes.
    pub(super) fn is_open(&self) -> bool {
        self.link.is_some()
    }

    /// The live link, once logged in.
    pub(super) fn live(&self) -> Option<Arc<dyn gateway::Link>> {
        self.connected_at.and_then(|_since| self.link())
    }

    /// The link, logged in or not.
    pub(super) fn link(&self) -> Option<Arc<dyn gateway::Link>> {
        self.link.as_ref().map(|open| open.link.clone())
    }

    /// Whether the open link was told to close.
    pub(super) fn is_closing(&self) -> bool {
        self.link.as_ref().is_some_and(|open| open.closing)
    }

    /// The session had a link when its actor started.
    pub(super) fn take_over(&mut self) {
        self.taken_over = Some(tokio::time::Instant::now());
    }

    /// Whether a login that took our link's place was one of the owner before. True once: whoever does it twice means it.
    fn was_contested(&mut self) -> bool {
        self.taken_over.take().is_some_and(|since| since.elapsed() < CONTESTED)
    }

    /// Whether a try to reconnect is scheduled.
    pub(super) fn is_waiting(&self) -> bool {
        self.timer.is_some()
    }

    /// Asks the link to close; what follows comes when it is gone.
    pub(super) fn close(&mut self, after: After) {
        self.timer = None;
        self.after = after;
        self.connected_at = None;
        if let Some(open) = &mut self.link {
            open.closing = true;
            open.unlink.store(matches!(after, After::Wipe | After::Delete), Ordering::SeqCst);
            open.cell.stop(Some("closing".into()));
        }
    }

    /// Closes the link and waits: the session itself is ending.
    pub(super) async fn shut(&mut self) {
        self.timer = None;
        // It stays where it is until it has ended: whoever kills the session meanwhile kills it too.
        if let Some(Open { cell, .. }) = &self.link {
            cell.stop(Some("session stopped".into()));
            let _late = cell.wait(Some(CLOSE_WITHIN)).await;
        }
        self.link = None;
    }
}

impl State {
    /// Opens a link unless there is one.
    pub(super) async fn open_link(&mut self, myself: &ActorRef<Msg>) -> Result<()> {
        self.connection.timer = None;
        if self.connection.is_open() {
            return Ok(());
        }
        let row = self.row()?.clone();
        self.connection.generation += 1;
        self.connection.inbox = Arc::default();
        let sink = SessionSink {
            tenant: row.tenant_id,
            session: self.id,
            store: self.setup.store.clone(),
            fence: self.fence,
            ledgers: self.setup.ledgers.clone(),
            actor: myself.clone(),
            inbox: self.connection.inbox.clone(),
            heard: Arc::clone(&self.pacing.heard),
        };
        let account =
            Account { tenant: row.tenant_id, session: self.id, fence: self.fence, endpoint: row.endpoint };
        let link = match self.setup.gateway.open(account, Arc::new(sink)).await {
            Ok(link) => link,
            Err(error) => return self.lost(format!("open_failed: {}", error.code), myself).await,
        };
        let end = Arc::default();
        let unlink = Arc::new(AtomicBool::new(false));
        let arguments = link::Arguments { link: link.clone(), end: Arc::clone(&end), unlink: unlink.clone() };
        let spawned = Actor::spawn_linked(None, Link, arguments, myself.get_cell()).await;
        let (actor, _) = spawned.map_err(|error| Error::bug(format!("a link did not start: {error}")))?;
        self.connection.link = Some(Open { link, cell: actor.get_cell(), unlink, end, closing: false });
        Ok(())
    }

    /// The engine said why the connection is over.
    async fn link_ended(&mut self, end: Option<LinkEnd>, myself: &ActorRef<Msg>) -> Result<()> {
        match end {
            Some(LinkEnd::Again) if self.connection.agains < AGAINS => {
                self.connection.agains += 1;
                self.open_link(myself).await
            }
            Some(LinkEnd::Again) => self.lost("told_to_reconnect_too_often".into(), myself).await,
            Some(LinkEnd::Lost { reason, .. }) => self.lost(reason, myself).await,
            Some(LinkEnd::LoggedOut { reason }) => {
                self.change(SessionInput::LoggedOut, reason, None).await?;
                self.wipe().await
            }
            Some(LinkEnd::Fatal { reason }) if reason == REPLACED && self.connection.was_contested() => {
                self.lost(reason, myself).await
            }
            Some(LinkEnd::Fatal { reason }) => self.change(SessionInput::Fail, reason, None).await,
            Some(LinkEnd::Closed) | None if self.state().wants_link() && !self.connection.is_waiting() => {
                self.lost("link_died".into(), myself).await
            }
            Some(LinkEnd::Closed) | None => Ok(()),
        }
    }

    /// Schedules the next try.
    async fn lost(&mut self, reason: String, myself: &ActorRef<Msg>) -> Result<()> {
        let stable = self.connection.connected_at.is_some_and(|since| since.elapsed() >= STABLE_AFTER);
        self.connection.tries = if stable { 0 } else { self.connection.tries.saturating_add(1) };
        self.connection.connected_at = None;
        let delay = self.setup.reconnect.delay(self.connection.tries.saturating_sub(1));
        let generation = self.connection.generation;
        let at = tokio::time::Instant::now() + delay;
        self.connection.timer = Some(task::send_at(myself, at, move || Msg::Reopen(generation)));
        self.change(SessionInput::Lost, reason, None).await
    }

    pub(super) async fn reopen(&mut self, generation: u64, myself: &ActorRef<Msg>) -> Result<()> {
        if generation != self.connection.generation || !self.state().wants_link() {
            return Ok(());
        }
        if self.connection.is_open() {
            // Its socket is gone but its actor still closes: open when it is gone.
            self.connection.timer = None;
            self.connection.after = After::Open;
            return Ok(());
        }
        self.open_link(myself).await
    }

    /// The link's actor has ended: nothing of it runs any more. ractor tells of an end before any message, so the
    /// reason waits beside the link.
    pub(super) async fn link_gone(&mut self, actor: ActorId, myself: &ActorRef<Msg>) -> Result<()> {
        let Some(open) = self.connection.link.take_if(|open| open.cell.get_id() == actor) else {
            return Ok(());
        };
        self.delivery.link_gone();
        let recorded = self.record_events(myself).await;
        let end = open.end.lock().unwrap_or_else(PoisonError::into_inner).take();
        match std::mem::take(&mut self.connection.after) {
            After::Open => self.open_link(myself).await?,
            After::Wipe => self.wipe().await?,
            After::Delete => self.forget(myself).await?,
            After::Rest => self.link_ended(end, myself).await?,
        }
        self.connection.connected_at = None;
        recorded
    }

    /// What the link left in the inbox, then what may be sent now.
    pub(super) async fn link_events(&mut self, myself: &ActorRef<Msg>) -> Result<()> {
        self.record_events(myself).await?;
        self.work(myself).await
    }

    /// Records all gathered events: changes of state one by one, acks and receipts in one write. What the store does
    /// not take stays and is tried again.
    #[expect(clippy::wildcard_enum_match_arm, reason = "`state_event` names every other one")]
    pub(super) async fn record_events(&mut self, myself: &ActorRef<Msg>) -> Result<()> {
        self.delivery.has_room()?;
        self.connection.backlog.extend(self.connection.inbox.drain());
        while let Some(event) = self.connection.backlog.front().cloned() {
            match event {
                LinkEvent::Ack { wa_id, error, at } => {
                    if let Some(refusal) = error.and_then(Refusal::of) {
                        self.refused(refusal).await?;
                    }
                    self.delivery.acked(wa_id, error, at);
                }
                LinkEvent::Receipt { wa_ids, state, at } => self.delivery.receipt(wa_ids, state, at),
                other => self.state_event(other, myself).await?,
            }
            self.connection.backlog.pop_front();
        }
        self.flush_news().await
    }

    async fn state_event(&mut self, event: LinkEvent, myself: &ActorRef<Msg>) -> Result<()> {
        match event {
            LinkEvent::Qr { code, expires_at } => {
                self.change(SessionInput::Qr, "qr".into(), Some((code, expires_at))).await?;
            }
            LinkEvent::PasskeyRequired => self.change(SessionInput::Passkey, "passkey".into(), None).await?,
            LinkEvent::Paired { pn, lid } => self.identify(Some(pn), lid, None),
            LinkEvent::Connected { pn, lid, push_name } => {
                self.connection.connected_at = Some(tokio::time::Instant::now());
                self.connection.agains = 0;
                self.identify(pn, lid, push_name);
                self.delivery.link_is_new();
                self.change(SessionInput::Connected, "logged_in".into(), None).await?;
            }
            LinkEvent::Unhealthy { reason } => {
                tracing::warn!(session.id = %self.id, reason, "a link is unhealthy and is rebuilt");
                self.connection.close(After::Rest);
                self.lost(reason, myself).await?;
            }
            LinkEvent::Ack { .. } | LinkEvent::Receipt { .. } => {}
        }
        Ok(())
    }

    fn identify(&mut self, pn: Option<Address>, lid: Option<Address>, push_name: Option<String>) {
        if let Some(row) = &mut self.row {
            row.pn = pn.or_else(|| row.pn.take());
            row.lid = lid.or_else(|| row.lid.take());
            row.push_name = push_name.or_else(|| row.push_name.take());
        }
    }

    /// Moves the session's state, durably, with its reason. An input that means nothing here changes nothing.
    pub(super) async fn change(
        &mut self,
        input: SessionInput,
        reason: String,
        code: Option<(String, Timestamp)>,
    ) -> Result<()> {
        let Some(next) = self.state().next(input) else { return Ok(()) };
        let row = self.row()?;
        let change = LinkChange {
            fence: self.fence,
            session: self.id,
            state: next,
            reason: reason.clone(),
            pn: row.pn.clone(),
            lid: row.lid.clone(),
            push_name: row.push_name.clone(),
            code: code.clone(),
            at: now(),
        };
        self.setup.ledgers.write_patiently(Write::Link(change)).await?;
        if let Some(SessionView { state, reason: why, code: shown, .. }) = &mut self.row {
            (*state, *why, *shown) = (next, reason, code);
        }
        Ok(())
    }

    /// Asks the link beside the mailbox; the answer comes back as a message.
    pub(super) fn pairing_code(
        &mut self,
        phone: Address,
        reply: RpcReplyPort<Result<(String, Timestamp)>>,
        myself: &ActorRef<Msg>,
    ) {
        let waiting = matches!(
            self.state(),
            SessionState::Starting | SessionState::PendingQr | SessionState::PairingCode
        );
        let Some(link) = self.connection.link().filter(|_link| waiting) else {
            let refusal = Error::conflict("session_not_linking", "the session is not waiting to be linked");
            let _caller_gone = reply.send(Err(refusal));
            return;
        };
        let generation = self.connection.generation;
        let ask = async move { link.pairing_code(&phone, PAIRING_WITHIN).await };
        task::spawn_child(myself, ask, move |answer| {
            let answer = answer.unwrap_or_else(|panicked| Err(Error::bug(panicked)));
            Msg::PairingCodeReady(generation, Box::new(answer), reply)
        })
        .detach();
    }

    pub(super) async fn pairing_code_ready(
        &mut self,
        generation: u64,
        answer: Result<(String, Timestamp)>,
        reply: RpcReplyPort<Result<(String, Timestamp)>>,
    ) -> Result<()> {
        let mut recorded = Ok(());
        if let (Ok(code), true) = (&answer, generation == self.connection.generation) {
            recorded =
                self.change(SessionInput::PairingCode, "pairing_code".into(), Some(code.clone())).await;
        }
        let _caller_gone = reply.send(answer);
        recorded
    }
}
