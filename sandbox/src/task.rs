//! The only place that starts tasks. PROMISES: every task ends when its [`Tasks`] is told to stop, and `stop` returns
//! only when all have ended or were aborted at the deadline.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

/// The tasks of one sandbox, and the signal that ends them.
#[derive(Clone)]
pub(crate) struct Tasks {
    set: Arc<Mutex<JoinSet<()>>>,
    stop: Arc<watch::Sender<bool>>,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self { set: Arc::default(), stop: Arc::new(watch::channel(false).0) }
    }

    /// Runs `task` until it ends or is aborted by [`Self::stop`]. After `stop` nothing new is started.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        if *self.stop.borrow() {
            return;
        }
        // Reap what has ended, so that the set stays as large as the number of live tasks.
        while set.try_join_next().is_some() {}
        set.spawn(task);
    }

    /// Resolves when the sandbox is stopping.
    pub(crate) async fn stopping(&self) {
        let mut seen = self.stop.subscribe();
        // The sender lives in `self`, so waiting can only end with the value.
        if seen.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Tells every task to end, and does not wait.
    pub(crate) fn end(&self) {
        self.stop.send_replace(true);
    }

    /// Tells every task to end, waits until `deadline`, then aborts what is left.
    pub(crate) async fn stop(&self, deadline: Duration) {
        self.stop.send_replace(true);
        let mut set = std::mem::take(&mut *self.set.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async { while set.join_next().await.is_some() {} };
        if tokio::time::timeout(deadline, all).await.is_err() {
            set.shutdown().await;
        }
    }
}
