//! The work on passwords: slow on purpose, so beside everything else and never more at once than there are cores.

use std::sync::Arc;

use ractor::{ActorRef, RpcReplyPort};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Checked, Msg, PasswordHashing};
use crate::actors::task::spawn_child;
use crate::domain::error::{Error, Result};
use crate::domain::password::Password;
use crate::telemetry;

/// What works on passwords.
pub(super) struct Passwords {
    hashing: Arc<dyn PasswordHashing>,
    cores: Arc<Semaphore>,
}

impl Passwords {
    pub(super) fn new(hashing: Arc<dyn PasswordHashing>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { hashing, cores: Arc::new(Semaphore::new(cores)) }
    }

    pub(super) fn hash(
        &self,
        myself: &ActorRef<Msg>,
        password: Password,
        place: OwnedSemaphorePermit,
        reply: RpcReplyPort<Result<String>>,
    ) {
        self.work(myself, place, reply, move |hashing| hashing.hash(password.as_str()));
    }

    pub(super) fn check(
        &self,
        myself: &ActorRef<Msg>,
        (password, stored): (Password, Option<String>),
        place: OwnedSemaphorePermit,
        reply: RpcReplyPort<Result<Checked>>,
    ) {
        telemetry::password_checked();
        self.work(myself, place, reply, move |hashing| hashing.check(password.as_str(), stored.as_deref()));
    }

    /// Runs `work` on a thread of its own when a core is free, in the order of asking.
    fn work<T: Send + 'static>(
        &self,
        myself: &ActorRef<Msg>,
        place: OwnedSemaphorePermit,
        reply: RpcReplyPort<Result<T>>,
        work: impl FnOnce(&dyn PasswordHashing) -> Result<T> + Send + 'static,
    ) {
        let (hashing, cores) = (self.hashing.clone(), self.cores.clone());
        let task = async move {
            let core = cores.acquire_owned().await;
            let done = tokio::task::spawn_blocking(move || {
                let done = work(&*hashing);
                drop(core);
                done
            });
            let done = done.await.unwrap_or_else(|panic| Err(Error::bug(panic)));
            drop(place);
            // Whoever asked may have gone meanwhile.
            let _asker_gone = reply.send(done);
        };
        spawn_child(myself, task, |_done| Msg::Note(super::Note(super::Inner::Worked))).detach();
    }
}
