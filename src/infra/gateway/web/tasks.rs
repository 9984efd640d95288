//! The engine's tasks of one connection, counted.
//!
//! What it promises: [`Tasks::idle`] returns when the last of them has ended, so that a new connection of the same
//! device never overlaps an old one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use whatsapp_rust::wacore::runtime::{AbortHandle, Runtime};
use whatsapp_rust::{TokioRuntime, async_trait};

type Work = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Runs the engine's tasks on tokio and counts them.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    count: Arc<Count>,
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

impl Tasks {
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
