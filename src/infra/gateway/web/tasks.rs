//! The engine's tasks of one connection, counted and in turn.
//!
//! What it promises:
//! * [`Tasks::idle`] returns when the last of them has ended, so that a new connection of the same device never overlaps
//!   an old one.
//! * No two of them run at the same moment. The engine makes a ratchet step and then hands over the message that it
//!   decrypted; were its keys stored by another task between the two, the message would have to be asked for again
//!   after a crash (see [`super::backend`]). Turns make that rare; they cannot rule it out.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use whatsapp_rust::wacore::runtime::{AbortHandle, Runtime};
use whatsapp_rust::{TokioRuntime, async_trait};

type Work = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Runs the engine's tasks on tokio and counts them.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    count: Arc<Count>,
    turn: Arc<Mutex<()>>,
}

#[derive(Debug, Default)]
struct Count {
    alive: AtomicUsize,
    idle: Notify,
}

struct Alive(Arc<Count>);

impl Drop for Alive {
    fn drop(&mut self) {
        if self.0.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// Work that runs only while no other work of its connection does.
struct InTurn<W> {
    turn: Arc<Mutex<()>>,
    work: Pin<Box<W>>,
}

impl<W: Future> Future for InTurn<W> {
    type Output = W::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<W::Output> {
        let this = &mut *self;
        // Held for a step, never across a wait.
        let _turn = this.turn.lock().unwrap_or_else(PoisonError::into_inner);
        this.work.as_mut().poll(cx)
    }
}

impl Tasks {
    /// Work of the engine that others than its tasks do: it takes its turn with them.
    pub(super) fn in_turn<W: Future>(&self, work: W) -> impl Future<Output = W::Output> + use<W> {
        InTurn { turn: self.turn.clone(), work: Box::pin(work) }
    }

    /// How many run.
    pub(super) fn alive(&self) -> usize {
        self.count.alive.load(Ordering::Acquire)
    }

    /// Waits until none runs, or the time is up.
    pub(super) async fn idle(&self, within: Duration) -> bool {
        let all_ended = async {
            loop {
                let idle = self.count.idle.notified();
                tokio::pin!(idle);
                idle.as_mut().enable();
                if self.alive() == 0 {
                    return;
                }
                idle.await;
            }
        };
        tokio::time::timeout(within, all_ended).await.is_ok()
    }

    fn counted(&self, work: Work) -> Work {
        self.count.alive.fetch_add(1, Ordering::AcqRel);
        let alive = Alive(self.count.clone());
        let work = self.in_turn(work);
        Box::pin(async move {
            let _alive = alive;
            work.await;
        })
    }
}

#[async_trait]
impl Runtime for Tasks {
    fn spawn(&self, future: Work) -> AbortHandle {
        TokioRuntime.spawn(self.counted(future))
    }

    fn spawn_detached(&self, future: Work) {
        TokioRuntime.spawn_detached(self.counted(future));
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        TokioRuntime.sleep(duration)
    }

    fn spawn_blocking(
        &self,
        f: Box<dyn FnOnce() + Send + 'static>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        TokioRuntime.spawn_blocking(f)
    }

    fn yield_now(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_two_tasks_of_a_connection_run_at_the_same_moment() {
        let tasks = Tasks::default();
        let (inside, met) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let (inside, met) = (inside.clone(), met.clone());
            async move {
                for _ in 0..10 {
                    met.fetch_add(inside.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(1));
                    inside.fetch_sub(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            }
        };
        for _ in 0..3 {
            tasks.spawn_detached(Box::pin(work()));
        }
        tasks.in_turn(work()).await;
        assert!(tasks.idle(Duration::from_secs(30)).await);
        assert_eq!(met.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn idle_waits_for_the_last_task_and_notices_aborted_ones() {
        let tasks = Tasks::default();
        assert!(tasks.idle(Duration::from_secs(1)).await);
        let forever = tasks.spawn(Box::pin(std::future::pending()));
        assert_eq!(tasks.alive(), 1);
        assert!(!tasks.idle(Duration::from_millis(10)).await);
        drop(forever);
        assert!(tasks.idle(Duration::from_secs(5)).await);
    }
}
