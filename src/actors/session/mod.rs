//! One WhatsApp account: opens its link, sends what is queued in order, records what becomes of it.
//!
//! Promises: at most one link at a time; commands run in `seq` order, a message under the id it was accepted with;
//! every state has a deadline or a schedule, every change of state is durable before anything follows from it.
//! Nothing it holds is the only copy: a new incarnation reads its row and goes on.

mod connection;
mod delivery;
mod life;
mod link;
mod pacing;
mod sink;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use super::directory::Directory;
use super::ledger::Ledgers;
use super::supervisor::{self, Child, Restart};
use super::task::{self, ChildTask};
use crate::domain::address::Address;
use crate::domain::error::{Error, Kind, Result};
use crate::domain::ids::{Fence, SessionId};
use crate::domain::pacing::Rules;
use crate::domain::retry::Schedule;
use crate::domain::session::SessionState;
use crate::domain::time::{Timestamp, now};
use crate::domain::view::SessionView;
use crate::infra::gateway::{Gateway, SendError};
use crate::infra::store::Store;

use connection::Connection;
use delivery::Delivery;
use pacing::Pacing;

/// How often a session looks after its deadlines, and polls behind its wake-ups.
const TICK: Duration = Duration::from_secs(5);

/// What every session needs, made once per node.
#[derive(Clone)]
pub struct Setup {
    /// The way to write.
    pub ledgers: Ledgers,
    /// For its own row at start.
    pub store: Arc<dyn Store>,
    /// The way to WhatsApp.
    pub gateway: Arc<dyn Gateway>,
    /// Where it enters itself.
    pub directory: Directory,
    /// How long to wait between tries to reconnect.
    pub reconnect: Schedule,
    /// How long WhatsApp may take to acknowledge a message before it is sent again.
    pub ack_within: Duration,
    /// How long a session without a link and without work keeps its actor.
    pub linger: Duration,
    /// How much a session may send.
    pub pacing: Rules,
}

/// The behaviour.
pub struct Session;

/// Which session, by what right.
pub struct Arguments {
    /// Which.
    pub id: SessionId,
    /// The right to write for it.
    pub fence: Fence,
    /// What it needs.
    pub setup: Setup,
}

/// What it understands.
pub enum Msg {
    /// There may be commands: look.
    Wake,
    /// Messages were queued: look, if there is a link to send them on and any may go. Else they wait for that.
    Queued,
    /// Look after deadlines.
    Tick,
    /// Something may go now that had to wait.
    Paced,
    /// The link left events in the inbox.
    LinkEvents,
    /// The reconnect timer of this generation is up.
    Reopen(u64),
    /// A run of sends is through: what the link answered to each.
    Sent(u64, Vec<(crate::domain::write::Taken, Result<(), SendError>)>),
    /// A person wants to link by code.
    PairingCode(Address, RpcReplyPort<Result<(String, Timestamp)>>),
    /// The link answered: the code to show.
    PairingCodeReady(u64, Box<Result<(String, Timestamp)>>, RpcReplyPort<Result<(String, Timestamp)>>),
}

/// What it holds.
pub struct State {
    id: SessionId,
    fence: Fence,
    setup: Setup,
    /// Its row as last written; `None` until read.
    row: Option<SessionView>,
    connection: Connection,
    delivery: Delivery,
    pacing: Pacing,
    /// Since when it has neither link nor work.
    idle_since: Option<tokio::time::Instant>,
    _tick: Option<ChildTask>,
}

/// A supervised session.
#[must_use]
pub fn child(id: SessionId, fence: Fence, setup: &Setup) -> Child {
    let setup = setup.clone();
    supervisor::leaf(id.to_string(), "session", Restart::Transient, move || {
        (Session, Arguments { id, fence, setup: setup.clone() })
    })
}

impl Actor for Session {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Arguments) -> Result<State, ActorProcessingErr> {
        args.setup.directory.enter(args.id, myself.clone());
        myself.cast(Msg::Wake)?;
        let tick = send_tick(&myself);
        Ok(State {
            id: args.id,
            fence: args.fence,
            connection: Connection::default(),
            delivery: Delivery::default(),
            pacing: Pacing::new(args.setup.pacing),
            setup: args.setup,
            row: None,
            idle_since: None,
            _tick: Some(tick),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let done = match msg {
            Msg::Wake => state.work(&myself).await,
            Msg::Queued if state.connection.live().is_none() || state.pacing.waits(now()) => Ok(()),
            Msg::Queued => state.work(&myself).await,
            Msg::Tick => {
                state._tick = Some(send_tick(&myself));
                state.tick(&myself).await
            }
            Msg::Paced => state.paced(&myself).await,
            Msg::LinkEvents => state.link_events(&myself).await,
            Msg::Reopen(generation) => state.reopen(generation, &myself).await,
            Msg::Sent(generation, answers) => state.sent(generation, answers, &myself).await,
            Msg::PairingCode(phone, reply) => {
                state.pairing_code(phone, reply, &myself);
                Ok(())
            }
            Msg::PairingCodeReady(generation, answer, reply) => {
                state.pairing_code_ready(generation, *answer, reply).await
            }
        };
        settle(state.id, done)
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let cell = match event {
            SupervisionEvent::ActorTerminated(cell, _, _) | SupervisionEvent::ActorFailed(cell, _) => cell,
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => return Ok(()),
        };
        let done = state.link_gone(cell.get_id(), &myself).await;
        settle(state.id, done)
    }

    async fn post_stop(&self, myself: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.setup.directory.leave(state.id, &myself);
        state.connection.shut().await;
        let _what_the_link_left = state.record_events(&myself).await;
        Ok(())
    }
}

fn send_tick(myself: &ActorRef<Msg>) -> ChildTask {
    task::send_at(myself, tokio::time::Instant::now() + TICK, || Msg::Tick)
}

/// A store that does not answer is waited for: the next tick tries again. A lost lease ends the actor, and a
/// mistake of ours restarts it.
fn settle(session: SessionId, done: Result<()>) -> Result<(), ActorProcessingErr> {
    let Err(error) = done else { return Ok(()) };
    match error.kind {
        Kind::Busy | Kind::Unavailable => {
            tracing::warn!(session.id = %session, %error, "the store does not take a session's write; trying again");
            Ok(())
        }
        Kind::Fenced
        | Kind::Bug
        | Kind::Invalid
        | Kind::NotFound
        | Kind::Conflict
        | Kind::Unauthorized
        | Kind::Forbidden => Err(error.into()),
    }
}

impl State {
    fn state(&self) -> SessionState {
        self.row.as_ref().map_or(SessionState::Created, |row| row.state)
    }

    fn row(&self) -> Result<&SessionView> {
        self.row.as_ref().ok_or_else(|| Error::bug("a session acts before it read its row"))
    }
}
