//! A batch taken apart by kind, and what it speaks of.

use super::Item;
use super::consumers::Change;
use super::idempotency::Name;
use super::life::Life;
use super::nodes::Word;
use crate::domain::ids::{Fence, SessionId, Shard, TenantId};
use crate::domain::write::{
    Accept, AddKey, AuthWrite, CreateSession, Finish, Inbound, PeopleWrite, Progress, Refused, Sweep, Take,
    TakeLease, TakePaced, Write,
};

/// The batch by kind.
#[derive(Default)]
pub(crate) struct Kinds<'w> {
    pub(crate) keys: Vec<Item<'w, AddKey>>,
    pub(crate) nodes: Vec<(usize, Word<'w>)>,
    pub(crate) leases: Vec<Item<'w, TakeLease>>,
    pub(crate) creates: Vec<Item<'w, CreateSession>>,
    pub(crate) accepts: Vec<Item<'w, Accept>>,
    pub(crate) requeues: Vec<(usize, Fence, SessionId)>,
    pub(crate) takes: Vec<Item<'w, Take>>,
    pub(crate) paced: Vec<Item<'w, TakePaced>>,
    pub(crate) refusals: Vec<Item<'w, Refused>>,
    pub(crate) inbound: Vec<Item<'w, Inbound>>,
    pub(crate) progress: Vec<Item<'w, Progress>>,
    pub(crate) finishes: Vec<Item<'w, Finish>>,
    pub(crate) life: Vec<(usize, Life<'w>)>,
    pub(crate) auth: Vec<Item<'w, AuthWrite>>,
    pub(crate) consumers: Vec<(usize, Change<'w>)>,
    pub(crate) sweeps: Vec<Item<'w, Sweep>>,
    pub(crate) people: Vec<Item<'w, PeopleWrite>>,
    pub(crate) stamps: Vec<(usize, Fence, usize)>,
    pub(crate) releases: Vec<(usize, Fence)>,
}

impl<'w> Kinds<'w> {
    pub(crate) fn of(batch: &'w [Write]) -> Self {
        let mut kinds = Self::default();
        for (place, write) in batch.iter().enumerate() {
            match write {
                Write::AddKey(key) => kinds.keys.push((place, key)),
                Write::CreateSession(create) => kinds.creates.push((place, create)),
                Write::Accept(accept) => kinds.accepts.push((place, accept)),
                Write::Beat(node) => kinds.nodes.push((place, Word::Here(node))),
                Write::Leave(node) => kinds.nodes.push((place, Word::Gone(node))),
                Write::Settle(name, value) => kinds.nodes.push((place, Word::Settle(name, value))),
                Write::TakeLease(take) => kinds.leases.push((place, take)),
                Write::ReleaseLease(fence) => kinds.releases.push((place, *fence)),
                Write::Take(take) => kinds.takes.push((place, take)),
                Write::TakePaced(take) => kinds.paced.push((place, take)),
                Write::Refused(refused) => kinds.refusals.push((place, refused)),
                Write::Requeue(fence, session) => kinds.requeues.push((place, *fence, *session)),
                Write::Finish(finish) => kinds.finishes.push((place, finish)),
                Write::Progress(progress) => kinds.progress.push((place, progress)),
                Write::Inbound(inbound) => kinds.inbound.push((place, inbound)),
                Write::Link(link) => kinds.life.push((place, Life::Link(link))),
                Write::DeleteSession(fence, session) => {
                    kinds.life.push((place, Life::Delete(*fence, *session)));
                }
                Write::Auth(auth) => kinds.auth.push((place, auth)),
                Write::Stamp(fence, limit) => kinds.stamps.push((place, *fence, *limit)),
                Write::Handled(handled) => kinds.consumers.push((place, Change::Handled(handled))),
                Write::DeliveryFailed(failed) => {
                    kinds.consumers.push((place, Change::Failed(failed)));
                }
                Write::Bury(failed) => kinds.consumers.push((place, Change::Bury(failed))),
                Write::Redrive(redrive) => kinds.consumers.push((place, Change::Redrive(redrive))),
                Write::Redriven(fence, letter) => {
                    kinds.consumers.push((place, Change::Redriven(*fence, *letter)));
                }
                Write::Sweep(sweep) => kinds.sweeps.push((place, sweep)),
                Write::People(people) => kinds.people.push((place, people)),
            }
        }
        kinds
    }
}

/// The sessions, tenants, shards and idempotency keys a batch speaks of: read once, before anything is judged.
#[derive(Default)]
pub(crate) struct Mentioned {
    pub(crate) sessions: Vec<SessionId>,
    /// Those whose people it changes.
    pub(crate) tenants: Vec<TenantId>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) keys: Vec<Name>,
}

impl Mentioned {
    pub(crate) fn in_batch(batch: &[Write]) -> Self {
        let mut all = Self::default();
        for write in batch {
            all.add(write);
        }
        all.sessions.sort_unstable();
        all.sessions.dedup();
        all.tenants.sort_unstable();
        all.tenants.dedup();
        all.shards.sort_unstable();
        all.shards.dedup();
        all.keys.sort_unstable();
        all.keys.dedup();
        all
    }

    fn add(&mut self, write: &Write) {
        match write {
            Write::AddKey(_) | Write::Beat(_) | Write::Leave(_) | Write::Settle(..) | Write::TakeLease(_) => {
            }
            Write::CreateSession(w) => {
                self.sessions.push(w.session);
                self.keys.extend(w.idempotency.iter().map(|used| (w.tenant.0, used.key.clone())));
            }
            Write::Accept(w) => {
                self.sessions.push(w.session);
                self.keys.extend(w.idempotency.iter().map(|used| (w.tenant.0, used.key.clone())));
            }
            Write::Redrive(w) => {
                self.keys.extend(w.idempotency.iter().map(|used| (w.tenant.0, used.key.clone())));
            }
            Write::Take(w) => self.owner(w.fence, w.session),
            Write::TakePaced(w) => self.owner(w.take.fence, w.take.session),
            Write::Refused(w) => self.owner(w.fence, w.session),
            Write::Requeue(fence, session) | Write::DeleteSession(fence, session) => {
                self.owner(*fence, *session);
            }
            Write::Finish(w) => self.owner(w.fence, w.session),
            Write::Progress(w) => self.owner(w.fence, w.session),
            Write::Inbound(w) => self.owner(w.fence, w.session),
            Write::Link(w) => self.owner(w.fence, w.session),
            Write::Auth(w) => self.owner(w.fence, w.session),
            Write::Handled(w) => self.shards.push(w.fence.shard),
            Write::DeliveryFailed(w) | Write::Bury(w) => self.shards.push(w.fence.shard),
            Write::Sweep(w) => self.shards.push(w.fence.shard),
            Write::ReleaseLease(fence) | Write::Stamp(fence, _) | Write::Redriven(fence, _) => {
                self.shards.push(fence.shard);
            }
            Write::People(people) => {
                self.tenants.extend(people.tenant());
                if let PeopleWrite::SaveUser(w) = &**people {
                    let tenant = w.user.tenant.0;
                    self.keys.extend(w.idempotency.iter().map(|used| (tenant, used.key.clone())));
                }
            }
        }
    }

    fn owner(&mut self, fence: Fence, session: SessionId) {
        self.shards.push(fence.shard);
        self.sessions.push(session);
    }
}
