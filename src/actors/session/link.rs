//! The socket of a session, as an actor: it lives as long as one connection.
//!
//! Promises: its end is told to the session with the reason, whatever ended it; when it has stopped, nothing of the
//! connection runs any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::actors::task::{self, ChildTask, Panicked};
use crate::infra::gateway::{self, LinkEnd};
use crate::telemetry::{Whose, scrubbed};

/// How long a connection may take to close in good order.
pub(super) const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// How long the server may take to unlink the account.
const UNLINK_WITHIN: Duration = Duration::from_secs(10);

/// The behaviour.
pub(super) struct Link;

/// What it needs: the connection, and whom to tell of its end.
pub(super) struct Arguments {
    pub(super) link: Arc<dyn gateway::Link>,
    /// Where the reason of its end is left.
    pub(super) end: Arc<Mutex<Option<LinkEnd>>>,
    /// Whether to unlink from the account before closing.
    pub(super) unlink: Arc<AtomicBool>,
}

/// What it understands: its connection is over.
pub(super) struct Ended(Result<LinkEnd, Panicked>);

pub(super) struct State {
    args: Arguments,
    _running: ChildTask,
}

impl Actor for Link {
    type Msg = Ended;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Ended>, args: Arguments) -> Result<State, ActorProcessingErr> {
        let link = args.link.clone();
        let running = task::spawn_child(&myself, async move { link.run().await }, Ended);
        Ok(State { args, _running: running })
    }

    async fn handle(
        &self,
        myself: ActorRef<Ended>,
        Ended(end): Ended,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let end = end.unwrap_or_else(|panicked| {
            let panicked = panicked.to_string();
            tracing::error!(panicked = %scrubbed(&panicked, Whose::Others), "a link panicked");
            LinkEnd::Lost { reason: "link_panicked".into(), was_connected: false }
        });
        *state.args.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        myself.stop(Some("ended".into()));
        Ok(())
    }

    async fn post_stop(&self, _myself: ActorRef<Ended>, state: &mut State) -> Result<(), ActorProcessingErr> {
        if state.args.unlink.load(Ordering::SeqCst) {
            match tokio::time::timeout(UNLINK_WITHIN, state.args.link.logout()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the account could not be told of the logout"),
                Err(_late) => tracing::warn!("the account did not answer the logout in time"),
            }
        }
        state.args.link.close(CLOSE_WITHIN).await;
        Ok(())
    }
}
