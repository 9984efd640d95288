//! The HTTP server as an actor: started last, stopped first.
//!
//! Promises: when it has stopped, no request is under way; a server that fails is restarted on the same socket.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Api;
use crate::actors::supervisor::{Child, Restart, leaf};
use crate::actors::task::{self, ChildTask, Panicked};
use crate::domain::error::Result;

/// How long requests under way may take to end.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// The behaviour.
pub struct Http;

/// What it needs.
pub struct Arguments {
    /// The bound socket: kept across restarts.
    pub socket: Arc<std::net::TcpListener>,
    /// What handlers hold.
    pub api: Arc<Api>,
}

/// What it understands: the server has ended.
pub struct Ended(std::result::Result<Result<()>, Panicked>);

/// What it holds.
pub struct State {
    stop: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
    _serving: ChildTask,
}

/// The server as a supervised child.
#[must_use]
pub fn child(socket: Arc<std::net::TcpListener>, api: Arc<Api>) -> Child {
    leaf("http", "http", Restart::Permanent, move || {
        (Http, Arguments { socket: socket.clone(), api: api.clone() })
    })
}

impl Actor for Http {
    type Msg = Ended;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Ended>, args: Arguments) -> Result<State, ActorProcessingErr> {
        let listener = TcpListener::from_std(args.socket.try_clone()?)?;
        let (stop, stopping) = watch::channel(false);
        let (done, ended) = watch::channel(false);
        let serve = async move {
            let served = super::serve(listener, args.api, told(stopping)).await;
            done.send_replace(true);
            served
        };
        let serving = task::spawn_child(&myself, serve, Ended);
        Ok(State { stop, ended, _serving: serving })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Ended>,
        Ended(end): Ended,
        _state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        Err(match end {
            Ok(Ok(())) => "the server ended by itself".into(),
            Ok(Err(error)) => error.into(),
            Err(panicked) => panicked.into(),
        })
    }

    async fn post_stop(&self, _myself: ActorRef<Ended>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.stop.send_replace(true);
        let drained = tokio::time::timeout(DRAIN_WITHIN, state.ended.wait_for(|ended| *ended)).await;
        if drained.is_err() {
            tracing::warn!("requests were still under way when their time was up");
        }
        Ok(())
    }
}

async fn told(mut stopping: watch::Receiver<bool>) {
    // The sender gone means the same.
    let _told = stopping.wait_for(|stop| *stop).await;
}
