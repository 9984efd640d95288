//! A batch in memory: taken apart by kind, judged and counted, whatever tables it is for.
//!
//! Promises: a refusal is decided before anything of its write is put down, so nothing has to be undone. Writes of one
//! kind keep their order, so per session and log `seq` follows it. Adapters read what a batch speaks of, have it judged
//! here, and write what came of it: rules are here, statements there.

pub(crate) mod accept;
pub(crate) mod audit;
pub(crate) mod auth;
pub(crate) mod chats;
pub(crate) mod consumers;
pub(crate) mod create;
pub(crate) mod idempotency;
pub(crate) mod inbound;
pub(crate) mod keys;
pub(crate) mod kinds;
pub(crate) mod leases;
pub(crate) mod life;
pub(crate) mod logins;
pub(crate) mod nodes;
pub(crate) mod outbox;
pub(crate) mod paced;
pub(crate) mod people;
pub(crate) mod progress;
pub(crate) mod sessions;
pub(crate) mod tenants;

use crate::domain::error::{Error, Result};
use crate::domain::identity::AuditEntry;
use crate::domain::ids::{Fence, SessionId};
use crate::domain::write::Outcome;
use crate::infra::store::Answers;
use idempotency::Stored;
use leases::Leases;
use outbox::Outbox;
use sessions::Sessions;
use tenants::Tenants;

/// A write and its place in the batch.
pub(crate) type Item<'w, T> = (usize, &'w T);

/// What all kinds share while a batch is applied.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) sessions: Sessions,
    pub(crate) tenants: Tenants,
    pub(crate) leases: Leases,
    pub(crate) stored: Stored,
    pub(crate) outbox: Outbox,
    /// What is written down of the writes so far.
    audit: Vec<AuditEntry>,
    /// The answers so far; every kind fills in its own.
    slots: Vec<Option<Result<Outcome>>>,
}

impl Batch {
    pub(crate) fn of(writes: usize) -> Self {
        Self { slots: (0..writes).map(|_write| None).collect(), ..Self::default() }
    }

    pub(crate) fn answer(&mut self, place: usize, answer: Result<Outcome>) {
        if let Some(slot) = self.slots.get_mut(place) {
            *slot = Some(answer);
        }
    }

    pub(crate) fn answers(self) -> Answers {
        let unanswered = || Err(Error::bug("a write without an answer"));
        self.slots.into_iter().map(|slot| slot.unwrap_or_else(unanswered)).collect()
    }

    /// Whether the writer may change this session: it holds the session's shard.
    pub(crate) fn owned(&self, fence: Fence, session: SessionId) -> Result<()> {
        self.leases.check(fence)?;
        let row = self.sessions.live(session)?;
        if row.shard == fence.shard { Ok(()) } else { Err(Error::fenced()) }
    }
}
