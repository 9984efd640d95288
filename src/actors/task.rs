//! Tasks that belong to an actor.
//!
//! Promises: a task ends with its actor, however the actor ends; what it returns, or the panic that ended it, comes
//! back to the actor as a message; and no other file of the crate starts a task.
//!
//! The tie is the actor's own end, not only a guard in its state: ractor hands the state of an actor that stopped
//! to its supervisor, so a guard in there is dropped when the supervisor comes round to it, which may be late.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use ractor::{ActorRef, Message};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The text of the panic that ended a task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panicked(pub String);

/// A running task of an actor. Dropping this aborts the task.
#[must_use = "dropping it aborts the task"]
#[derive(Debug)]
pub struct ChildTask {
    handle: JoinHandle<()>,
    detached: bool,
}

impl ChildTask {
    /// Lets the task run for as long as its actor lives.
    pub fn detach(mut self) {
        self.detached = true;
    }

    /// Whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Aborts the task, without waiting for its end.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Aborts the task and waits until it has let go of all it held.
    pub async fn aborted(mut self) {
        self.handle.abort();
        let _how_it_ended = (&mut self.handle).await;
    }
}

impl Drop for ChildTask {
    fn drop(&mut self) {
        if !self.detached {
            self.handle.abort();
        }
    }
}

/// Runs `work` beside `actor` and sends the actor what comes of it.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that starts tasks, so that each belongs to an actor"
)]
pub fn spawn_child<M, T>(
    actor: &ActorRef<M>,
    work: impl Future<Output = T> + Send + 'static,
    message: impl FnOnce(Result<T, Panicked>) -> M + Send + 'static,
) -> ChildTask
where
    M: Message,
    T: Send + 'static,
{
    let owner = actor.clone();
    let handle = tokio::spawn(async move {
        let outcome = tokio::select! {
            biased;
            _ = owner.wait(None) => return,
            outcome = AssertUnwindSafe(work).catch_unwind() => outcome,
        };
        // An actor that ended meanwhile has no use for the answer.
        let _actor_gone = owner.cast(message(outcome.map_err(|payload| Panicked(text_of(payload.as_ref())))));
    });
    ChildTask { handle, detached: false }
}

/// Sends `message` to `actor` at the given time, unless the returned task is dropped before.
pub fn send_at<M: Message>(
    actor: &ActorRef<M>,
    at: Instant,
    message: impl FnOnce() -> M + Send + 'static,
) -> ChildTask {
    spawn_child(actor, tokio::time::sleep_until(at), move |_elapsed| message())
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text").to_owned()
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use ractor::{Actor, ActorProcessingErr};
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    /// Passes every message on.
    struct Echo;

    impl Actor for Echo {
        type Msg = Result<u32, Panicked>;
        type State = mpsc::UnboundedSender<Self::Msg>;
        type Arguments = Self::State;

        async fn pre_start(
            &self,
            _: ActorRef<Self::Msg>,
            out: Self::State,
        ) -> Result<Self::State, ActorProcessingErr> {
            Ok(out)
        }

        async fn handle(
            &self,
            _: ActorRef<Self::Msg>,
            msg: Self::Msg,
            out: &mut Self::State,
        ) -> Result<(), ActorProcessingErr> {
            Ok(out.send(msg)?)
        }
    }

    async fn echo() -> (ActorRef<Result<u32, Panicked>>, mpsc::UnboundedReceiver<Result<u32, Panicked>>) {
        let (out, seen) = mpsc::unbounded_channel();
        (Actor::spawn(None, Echo, out).await.unwrap().0, seen)
    }

    #[tokio::test]
    async fn a_result_and_a_panic_come_back_as_messages() {
        let (actor, mut seen) = echo().await;
        spawn_child(&actor, async { 7 }, |result| result).detach();
        assert_eq!(seen.recv().await, Some(Ok(7)));
        spawn_child(&actor, async { panic!("no luck") }, |result| result).detach();
        assert_eq!(seen.recv().await, Some(Err(Panicked("no luck".into()))));
    }

    /// Starts a task that never ends by itself; the receiver fails once the task has let go.
    async fn endless(actor: &ActorRef<Result<u32, Panicked>>) -> (ChildTask, oneshot::Receiver<()>) {
        let (held, dropped) = oneshot::channel::<()>();
        let (running, runs) = oneshot::channel::<()>();
        let work = async move {
            let _held = held;
            running.send(()).unwrap();
            pending::<u32>().await
        };
        let task = spawn_child(actor, work, |result| result);
        runs.await.unwrap();
        (task, dropped)
    }

    #[tokio::test]
    async fn a_task_ends_when_its_actor_stops_or_is_killed() {
        for kill in [false, true] {
            let (actor, _seen) = echo().await;
            let (task, dropped) = endless(&actor).await;
            task.detach();
            if kill {
                actor.kill()
            } else {
                actor.stop(None)
            }
            assert!(tokio::time::timeout(Duration::from_secs(5), dropped).await.unwrap().is_err());
        }
    }

    #[tokio::test]
    async fn a_dropped_task_is_aborted() {
        let (actor, _seen) = echo().await;
        let (task, dropped) = endless(&actor).await;
        drop(task);
        assert!(tokio::time::timeout(Duration::from_secs(5), dropped).await.unwrap().is_err());
        let (task, mut dropped) = endless(&actor).await;
        task.aborted().await;
        assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timed_message_comes_at_its_time() {
        let (actor, mut seen) = echo().await;
        let start = Instant::now();
        let _timer = send_at(&actor, start + Duration::from_secs(60), || Ok(1));
        drop(send_at(&actor, start + Duration::from_secs(30), || Ok(2)));
        assert_eq!(seen.recv().await, Some(Ok(1)));
        assert_eq!(start.elapsed().as_secs(), 60);
    }
}
