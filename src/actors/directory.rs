//! Where a session's actor is.
//!
//! Promises: a wake-up reaches the session's actor, or starts it; a live question is answered by its owner or refused
//! within a deadline. Holds references, never state that would have to survive.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ractor::{ActorRef, RpcReplyPort};
use tokio::sync::Semaphore;

use super::{session, supervisor};
use crate::domain::address::Address;
use crate::domain::cluster::LeaseView;
use crate::domain::error::{Error, Result};
use crate::domain::ids::{Fence, SessionId, Shard};
use crate::domain::time::Timestamp;

/// How long a session's actor may take to start.
const START_WITHIN: Duration = Duration::from_secs(10);

/// How long a person waits for a pairing code.
const QUESTION_WITHIN: Duration = Duration::from_secs(25);

/// The most live questions at once.
const QUESTIONS: usize = 256;

/// A shard owned here: by what right, and where its sessions run.
#[derive(Clone)]
struct Owned {
    fence: Fence,
    sessions: ActorRef<supervisor::Msg>,
}

#[derive(Default)]
struct Shared {
    shards: RwLock<HashMap<Shard, Owned>>,
    sessions: RwLock<HashMap<SessionId, ActorRef<session::Msg>>>,
    /// Where the owners of all shards answer, as of the last look.
    owners: RwLock<HashMap<Shard, String>>,
}

/// The directory, cheap to clone.
#[derive(Clone)]
pub struct Directory {
    shared: Arc<Shared>,
    shards: u16,
    questions: Arc<Semaphore>,
}

impl Directory {
    /// An empty directory for so many shards.
    #[must_use]
    pub fn new(shards: u16) -> Self {
        Self { shared: Arc::default(), shards, questions: Arc::new(Semaphore::new(QUESTIONS)) }
    }

    /// The shard of a session.
    #[must_use]
    pub fn shard_of(&self, session: SessionId) -> Shard {
        Shard::of(session, self.shards)
    }

    /// A shard is owned here; its sessions start under `sessions`.
    pub fn enter_shard(&self, fence: Fence, sessions: ActorRef<supervisor::Msg>) {
        let mut shards = self.shared.shards.write().unwrap_or_else(PoisonError::into_inner);
        shards.insert(fence.shard, Owned { fence, sessions });
    }

    /// A shard is owned here no more.
    pub fn leave_shard(&self, shard: Shard) {
        self.shared.shards.write().unwrap_or_else(PoisonError::into_inner).remove(&shard);
    }

    /// Who owns which shard, as the leases say.
    pub(super) fn know_owners(&self, leases: &[LeaseView]) {
        let held = leases.iter().filter(|lease| lease.node.is_some());
        let owners = held.map(|lease| (lease.shard, lease.address.clone())).collect();
        *self.shared.owners.write().unwrap_or_else(PoisonError::into_inner) = owners;
    }

    /// Where the owner of a session answers other nodes, when that is not here.
    #[must_use]
    pub fn elsewhere(&self, session: SessionId) -> Option<String> {
        let shard = self.shard_of(session);
        if self.shared.shards.read().unwrap_or_else(PoisonError::into_inner).contains_key(&shard) {
            return None;
        }
        self.shared.owners.read().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned()
    }

    /// How many shards have no owner, here or elsewhere, as of the last look.
    #[must_use]
    pub fn unowned(&self) -> usize {
        let here = self.shared.shards.read().unwrap_or_else(PoisonError::into_inner);
        let owners = self.shared.owners.read().unwrap_or_else(PoisonError::into_inner);
        let all = (0..self.shards).map(Shard);
        all.filter(|shard| !here.contains_key(shard) && !owners.contains_key(shard)).count()
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The shards owned here.
    #[must_use]
    pub fn fences(&self) -> Vec<Fence> {
        let shards = self.shared.shards.read().unwrap_or_else(PoisonError::into_inner);
        shards.values().map(|owned| owned.fence).collect()
    }

    pub(super) fn enter(&self, session: SessionId, actor: ActorRef<session::Msg>) {
        self.shared.sessions.write().unwrap_or_else(PoisonError::into_inner).insert(session, actor);
    }

    /// Only the incarnation that is entered leaves: a late end of an older one must not hide the new one.
    pub(super) fn leave(&self, session: SessionId, actor: &ActorRef<session::Msg>) {
        let mut sessions = self.shared.sessions.write().unwrap_or_else(PoisonError::into_inner);
        if sessions.get(&session).is_some_and(|known| known.get_id() == actor.get_id()) {
            sessions.remove(&session);
        }
    }

    fn find(&self, session: SessionId) -> Option<ActorRef<session::Msg>> {
        self.shared.sessions.read().unwrap_or_else(PoisonError::into_inner).get(&session).cloned()
    }

    /// How many sessions have an actor here.
    #[must_use]
    pub fn live(&self) -> usize {
        self.shared.sessions.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Tells a session that something may wait for it, `work` says what; starts its actor if there is none.
    ///
    /// # Errors
    /// `Unavailable` when its shard is not here or the actor cannot start.
    pub async fn wake(
        &self,
        session: SessionId,
        work: session::Msg,
        make: impl FnOnce(Fence) -> supervisor::Child,
    ) -> Result<()> {
        if let Some(actor) = self.find(session)
            && actor.cast(work).is_ok()
        {
            return Ok(());
        }
        let owned = {
            let shards = self.shared.shards.read().unwrap_or_else(PoisonError::into_inner);
            shards.get(&self.shard_of(session)).cloned()
        };
        let owned =
            owned.ok_or_else(|| Error::unavailable("not_owner", "this node does not own the session"))?;
        match supervisor::start(&owned.sessions, make(owned.fence), START_WITHIN).await {
            // It exists in another phase: starting, or waiting for its restart. It looks for work when it is up.
            Ok(()) | Err(supervisor::StartError::Exists) => Ok(()),
            Err(supervisor::StartError::Full(_)) => {
                Err(Error::busy("too_many_sessions", "this node is full"))
            }
            Err(other) => Err(Error::unavailable("session_not_started", other.to_string())),
        }
    }

    /// Asks a session for a code that a person enters on the phone with this number.
    ///
    /// # Errors
    /// `Conflict` when the session is not waiting to be linked; `Unavailable` when its actor does not answer in time.
    pub async fn pairing_code(&self, session: SessionId, phone: Address) -> Result<(String, Timestamp)> {
        let permit = self.questions.try_acquire();
        let _permit =
            permit.map_err(|_full| Error::busy("too_many_questions", "too many live questions at once"))?;
        let not_running = || Error::conflict("session_not_running", "start the session first");
        let actor = self.find(session).ok_or_else(not_running)?;
        let ask = |reply: RpcReplyPort<Result<(String, Timestamp)>>| session::Msg::PairingCode(phone, reply);
        match actor.call(ask, Some(QUESTION_WITHIN)).await {
            Ok(ractor::rpc::CallResult::Success(answer)) => answer,
            Ok(ractor::rpc::CallResult::Timeout) => {
                Err(Error::unavailable("pairing_code_late", "no pairing code came in time"))
            }
            // It ended with the question before it. One that rests or is deleted has left; one that failed comes back.
            Ok(ractor::rpc::CallResult::SenderError) if self.find(session).is_none() => Err(not_running()),
            Ok(ractor::rpc::CallResult::SenderError) => {
                Err(Error::unavailable("session_restarting", "the session is restarting; try again shortly"))
            }
            Err(_gone) => Err(not_running()),
        }
    }
}
