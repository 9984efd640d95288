//! Starts what should run: after a shard is won, every session that had a link; later, whatever a lost wake-up forgot.
//!
//! Promises: the wake-ups of a shard may all be lost, and its work is late by one poll, never left undone.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::session::Setup;
use super::task::{self, ChildTask};
use super::{session, supervisor::Child};
use crate::domain::error::Result;
use crate::domain::ids::{Fence, SessionId};
use crate::domain::time::now;
use crate::infra::store::Store;

/// How often it looks for forgotten work.
const POLL: Duration = Duration::from_secs(2);

/// Work younger than this is still on its normal way.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(2);

/// Rows read at once.
const PAGE: usize = 256;

/// The behaviour.
pub struct Roster;

/// What it needs.
pub struct Arguments {
    /// The right to the shard.
    pub fence: Fence,
    /// What a session needs.
    pub setup: Setup,
    /// For the lists.
    pub store: Arc<dyn Store>,
}

/// What it understands.
pub enum Msg {
    /// Start the sessions after this one that want a link.
    Call(Option<SessionId>),
    /// Look for forgotten work.
    Poll,
}

/// What it holds.
pub struct State {
    args: Arguments,
    timer: Option<ChildTask>,
}

impl Actor for Roster {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Arguments) -> Result<State, ActorProcessingErr> {
        myself.cast(Msg::Call(None))?;
        Ok(State { args, timer: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Call(after) => match state.call(after).await {
                Ok(Some(last)) => myself.cast(Msg::Call(Some(last)))?,
                Ok(None) => state.poll_later(&myself),
                Err(error) => {
                    tracing::warn!(%error, "the roll call waits");
                    let at = tokio::time::Instant::now() + POLL;
                    state.timer = Some(task::send_at(&myself, at, move || Msg::Call(after)));
                }
            },
            Msg::Poll => {
                if let Err(error) = state.poll().await {
                    tracing::warn!(%error, "the poll for forgotten work failed");
                }
                state.poll_later(&myself);
            }
        }
        Ok(())
    }
}

impl State {
    fn poll_later(&mut self, myself: &ActorRef<Msg>) {
        self.timer = Some(task::send_at(myself, tokio::time::Instant::now() + POLL, || Msg::Poll));
    }

    /// One page of the roll call; where to go on, if there is more.
    async fn call(&self, after: Option<SessionId>) -> Result<Option<SessionId>> {
        let page = self.args.store.sessions_to_run(self.args.fence.shard, after, PAGE).await?;
        for session in &page {
            wake(&self.args.setup, *session).await;
        }
        Ok(page.last().copied().filter(|_last| page.len() == PAGE))
    }

    async fn poll(&self) -> Result<()> {
        let before = now().before(FORGOTTEN_AFTER);
        for session in self.args.store.sessions_behind(self.args.fence.shard, before, PAGE).await? {
            wake(&self.args.setup, session).await;
        }
        Ok(())
    }
}

/// Wakes a session or starts its actor. A failure is only a delay: the next poll comes.
async fn wake(setup: &Setup, session: SessionId) {
    let make = |fence| -> Child { session::child(session, fence, setup) };
    if let Err(error) = setup.directory.wake(session, session::Msg::Wake, make).await {
        tracing::debug!(session.id = %session, %error, "a session could not be woken");
    }
}
