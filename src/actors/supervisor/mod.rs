//! One supervisor for every level of the tree.
//!
//! Promises:
//! * A child that fails, panics, is killed, or fails to start again comes back after a jittered, growing wait. A child
//!   that fails at its first start is an error to whoever asked, and nothing is kept.
//! * Failures count per child. A child that spends its budget is parked, its siblings untouched, or ends the whole
//!   supervisor in order, as the policy says.
//! * A child that was stopped stays stopped, also when it was just starting or waiting for its restart. When a stop is
//!   answered, the child has ended.
//! * Children stop in reverse order or together, with one deadline for all of them; what still runs then is killed.
//! * No start and no stop of one child holds up the supervisor, and starts never run more at once than allowed.
//!
//! A child's mailbox does not survive its restart (ractor gives it a new one), so what is sent to a supervised actor
//! is a hint or a question; the work itself lives in the store. Nothing is registered by name.
//!
//! One-for-all is a [`branch`] with `failures: 0` and [`Exhausted::Escalate`].

mod child;
mod ends;
mod meter;
mod policy;
mod slot;
mod starts;
mod state;
mod stop;
#[cfg(test)]
mod tests;
mod tree;

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};
use tokio::time::{Instant, timeout};

use crate::domain::retry::LONGEST;

pub use child::{
    Child, Restart, RestartError, Start, StartError, Started, branch, branch_known, child, leaf, leaf_known,
};
pub use meter::{PARKED, RESTARTS_TOTAL};
pub use policy::{Exhausted, Policy, StopOrder};
use state::End;
pub use state::State;
pub use tree::{Node, Phase};

/// The reason ractor gives for the end of a killed actor.
const KILLED: &str = "killed";

/// What a supervisor is asked. The functions of this module ask it with a deadline.
pub enum Msg {
    /// Start a new child; answered when its start has ended.
    Start(Child, RpcReplyPort<Result<(), StartError>>),
    /// End a child for good; answered when nothing of this key runs any more.
    Stop(String, RpcReplyPort<()>),
    /// Start a child anew at once, its failures forgiven: one that runs is stopped first, one that waits or is parked
    /// just starts. Answered when that is under way.
    Restart(String, RpcReplyPort<Result<(), RestartError>>),
    /// List the children in start order, not what is below them.
    List(RpcReplyPort<Vec<Node>>),
    /// List the children and everything below them, by this time.
    Tree(Instant, RpcReplyPort<Vec<Node>>),
    /// Stop, with this deadline for all children instead of the policy's.
    Shutdown(Instant),
    /// What the supervisor tells itself.
    Note(Note),
}

/// What a supervisor tells itself; of no use to others.
pub struct Note(Inner);

enum Inner {
    /// The start of this key has ended.
    Begun(String, Result<Started, StartError>),
    /// The wait before a restart is over.
    Due(String, u64),
    /// The time to stop, or to yield to a kill, is over.
    Overdue(String, u64),
    /// A tree is listed.
    Listed(Vec<Node>, RpcReplyPort<Vec<Node>>),
}

/// A child's failure budget is spent, and the policy is to escalate.
#[derive(Debug, thiserror::Error)]
#[error("{key} spent its restart budget: {reason}")]
struct Spent {
    key: String,
    reason: String,
}

/// The supervisor. Its arguments are its policy and its first children, which start in this order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Supervisor;

impl Actor for Supervisor {
    type Msg = Msg;
    type State = State;
    type Arguments = (Policy, Vec<Child>);

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        (policy, children): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let mut state = State::new(myself, policy);
        for child in children {
            let key = child.key.clone();
            if let Err(error) = state.start_now(child).await {
                state.stop_all().await;
                return Err(format!("{key}: {error}").into());
            }
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let verdict = match msg {
            Msg::Start(child, reply) => {
                state.admit(child, reply);
                Ok(())
            }
            Msg::Stop(key, reply) => {
                state.stop(&key, reply);
                Ok(())
            }
            Msg::Restart(key, reply) => {
                answer(reply, state.restart(&key));
                Ok(())
            }
            Msg::List(reply) => {
                answer(reply, state.list());
                Ok(())
            }
            Msg::Tree(deadline, reply) => {
                state.tree(deadline, reply);
                Ok(())
            }
            Msg::Shutdown(deadline) => {
                state.stop_by = Some(deadline);
                myself.stop(Some("shut down".to_owned()));
                Ok(())
            }
            Msg::Note(Note(note)) => state.heed(note),
        };
        decide(state, verdict).await
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, end) = match event {
            SupervisionEvent::ActorFailed(cell, error) => {
                (cell, End { abnormal: true, reason: error.to_string() })
            }
            // ractor reports a kill as an ordinary end: with its word as the reason, or without the actor's state.
            SupervisionEvent::ActorTerminated(cell, last_state, reason) => {
                let abnormal = last_state.is_none() || reason.as_deref() == Some(KILLED);
                (cell, End { abnormal, reason: reason.unwrap_or_else(|| "stopped".to_owned()) })
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => return Ok(()),
        };
        let verdict = state.ended(cell.get_id(), end);
        decide(state, verdict).await
    }

    async fn post_stop(&self, _myself: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.stop_all().await;
        Ok(())
    }
}

/// Escalates if need be: ractor kills what is below an actor that fails, so the children are stopped before.
async fn decide(state: &mut State, verdict: Result<(), Spent>) -> Result<(), ActorProcessingErr> {
    if let Err(spent) = verdict {
        state.stop_all().await;
        return Err(spent.into());
    }
    Ok(())
}

/// Answers a question; whoever asked may have left.
fn answer<T: ractor::Message>(reply: RpcReplyPort<T>, value: T) {
    let _asker_left = reply.send(value);
}

/// Starts the root of a tree. Its end is the end of the returned task.
pub async fn spawn_root(
    policy: Policy,
    children: Vec<Child>,
) -> Result<(ActorRef<Msg>, tokio::task::JoinHandle<()>), SpawnErr> {
    Actor::spawn(None, Supervisor, (policy, children)).await
}

/// Starts a child and waits for its start to end. When the time is over, the child may still come.
pub async fn start(supervisor: &ActorRef<Msg>, child: Child, within: Duration) -> Result<(), StartError> {
    ask(supervisor, |reply| Msg::Start(child, reply), within).await.unwrap_or(Err(StartError::Unreachable))
}

/// Stops a child for good. Whether it has ended (or the whole supervisor) within that time.
pub async fn stop(supervisor: &ActorRef<Msg>, key: impl Into<String>, within: Duration) -> bool {
    let key = key.into();
    ask(supervisor, |reply| Msg::Stop(key, reply), within).await.is_some()
}

/// Starts a child anew: the way out of being parked.
pub async fn restart(
    supervisor: &ActorRef<Msg>,
    key: impl Into<String>,
    within: Duration,
) -> Result<(), RestartError> {
    let key = key.into();
    ask(supervisor, |reply| Msg::Restart(key, reply), within).await.unwrap_or(Err(RestartError::Unreachable))
}

/// The whole live tree below a supervisor, or nothing if it does not answer in time.
pub async fn tree(supervisor: &ActorRef<Msg>, within: Duration) -> Option<Vec<Node>> {
    let deadline = from_now(within) - within.min(LONGEST) / 10;
    ask(supervisor, |reply| Msg::Tree(deadline, reply), within).await
}

/// Stops a whole tree, with one deadline for everything in it. Whether it ended in order or was killed, it has ended
/// when this returns `true`.
pub async fn shutdown(supervisor: &ActorRef<Msg>, within: Duration) -> bool {
    let _already_gone = supervisor.cast(Msg::Shutdown(from_now(within)));
    supervisor.wait(Some(within.saturating_add(2 * stop::KILL_GRACE))).await.is_ok()
}

/// Adding to a clock overflows at some length; nothing here is as long.
fn from_now(wait: Duration) -> Instant {
    Instant::now() + wait.min(LONGEST)
}

async fn ask<T>(
    supervisor: &ActorRef<Msg>,
    question: impl FnOnce(RpcReplyPort<T>) -> Msg,
    within: Duration,
) -> Option<T> {
    let (reply, answer) = ractor::concurrency::oneshot();
    supervisor.cast(question(reply.into())).ok()?;
    timeout(within, answer).await.ok()?.ok()
}
