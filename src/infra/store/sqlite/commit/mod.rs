//! One batch, one transaction: writes are taken apart by kind, and each kind is read, judged and written as a whole.
//!
//! Promises: a refusal is decided before anything of its write is put down, so nothing has to be undone. Writes of one
//! kind keep their order, so per session and log `seq` follows it. Between kinds the order is that of [`apply`]; the
//! writes of a batch were all waiting at once, so any order is one their senders could have seen.

mod accept;
mod auth;
mod chats;
mod consumers;
mod create;
mod idempotency;
mod inbound;
mod leases;
mod life;
mod nodes;
mod outbox;
#[cfg(test)]
mod plans;
mod progress;
mod sessions;
mod sweep;
mod work;

use rusqlite::Connection;

use crate::domain::error::{Error, Result};
use crate::domain::ids::{Fence, SessionId, Shard};
use crate::domain::write::{
    Accept, AddKey, AuthWrite, CreateSession, Finish, Inbound, Outcome, Progress, Sweep, Take, TakeLease,
    Write,
};
use crate::infra::store::Answers;
use idempotency::Stored;
use leases::Leases;
use outbox::Outbox;
pub(super) use progress::state as message_state;
use sessions::Sessions;

/// A write and its place in the batch.
type Item<'w, T> = (usize, &'w T);

/// The answers so far; every kind fills in its own.
type Slots = Vec<Option<Result<Outcome>>>;

/// What all kinds share while a batch is applied.
struct Tx<'c> {
    conn: &'c Connection,
    sessions: Sessions,
    leases: Leases,
    stored: Stored,
    outbox: Outbox,
    slots: Slots,
}

impl Tx<'_> {
    fn answer(&mut self, place: usize, answer: Result<Outcome>) {
        if let Some(slot) = self.slots.get_mut(place) {
            *slot = Some(answer);
        }
    }

    /// Whether the writer may change this session: it holds the session's shard.
    fn owned(&self, fence: Fence, session: SessionId) -> Result<()> {
        self.leases.check(fence)?;
        let row = self.sessions.live(session)?;
        if row.shard == fence.shard { Ok(()) } else { Err(Error::fenced()) }
    }
}

/// The batch by kind.
#[derive(Default)]
struct Kinds<'w> {
    keys: Vec<Item<'w, AddKey>>,
    nodes: Vec<(usize, nodes::Word<'w>)>,
    leases: Vec<Item<'w, TakeLease>>,
    creates: Vec<Item<'w, CreateSession>>,
    accepts: Vec<Item<'w, Accept>>,
    requeues: Vec<(usize, Fence, SessionId)>,
    takes: Vec<Item<'w, Take>>,
    inbound: Vec<Item<'w, Inbound>>,
    progress: Vec<Item<'w, Progress>>,
    finishes: Vec<Item<'w, Finish>>,
    life: Vec<(usize, life::Life<'w>)>,
    auth: Vec<Item<'w, AuthWrite>>,
    consumers: Vec<(usize, consumers::Change<'w>)>,
    sweeps: Vec<Item<'w, Sweep>>,
    stamps: Vec<(usize, Fence, usize)>,
    releases: Vec<(usize, Fence)>,
}

impl<'w> Kinds<'w> {
    fn of(batch: &'w [Write]) -> Self {
        let mut kinds = Self::default();
        for (place, write) in batch.iter().enumerate() {
            match write {
                Write::AddKey(key) => kinds.keys.push((place, key)),
                Write::CreateSession(create) => kinds.creates.push((place, create)),
                Write::Accept(accept) => kinds.accepts.push((place, accept)),
                Write::Beat(node) => kinds.nodes.push((place, nodes::Word::Here(node))),
                Write::Leave(node) => kinds.nodes.push((place, nodes::Word::Gone(node))),
                Write::Settle(name, value) => kinds.nodes.push((place, nodes::Word::Settle(name, value))),
                Write::TakeLease(take) => kinds.leases.push((place, take)),
                Write::ReleaseLease(fence) => kinds.releases.push((place, *fence)),
                Write::Take(take) => kinds.takes.push((place, take)),
                Write::Requeue(fence, session) => kinds.requeues.push((place, *fence, *session)),
                Write::Finish(finish) => kinds.finishes.push((place, finish)),
                Write::Progress(progress) => kinds.progress.push((place, progress)),
                Write::Inbound(inbound) => kinds.inbound.push((place, inbound)),
                Write::Link(link) => kinds.life.push((place, life::Life::Link(link))),
                Write::DeleteSession(fence, session) => {
                    kinds.life.push((place, life::Life::Delete(*fence, *session)));
                }
                Write::Auth(auth) => kinds.auth.push((place, auth)),
                Write::Stamp(fence, limit) => kinds.stamps.push((place, *fence, *limit)),
                Write::Handled(handled) => kinds.consumers.push((place, consumers::Change::Handled(handled))),
                Write::DeliveryFailed(failed) => {
                    kinds.consumers.push((place, consumers::Change::Failed(failed)));
                }
                Write::Bury(failed) => kinds.consumers.push((place, consumers::Change::Bury(failed))),
                Write::Redrive(redrive) => kinds.consumers.push((place, consumers::Change::Redrive(redrive))),
                Write::Redriven(fence, letter) => {
                    kinds.consumers.push((place, consumers::Change::Redriven(*fence, *letter)));
                }
                Write::Sweep(sweep) => kinds.sweeps.push((place, sweep)),
            }
        }
        kinds
    }
}

/// The sessions, shards and idempotency keys a batch speaks of: read once, before anything is judged.
#[derive(Default)]
struct Mentioned {
    sessions: Vec<SessionId>,
    shards: Vec<Shard>,
    keys: Vec<(uuid::Uuid, String)>,
}

impl Mentioned {
    fn in_batch(batch: &[Write]) -> Self {
        let mut all = Self::default();
        for write in batch {
            all.add(write);
        }
        all.sessions.sort_unstable();
        all.sessions.dedup();
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
        }
    }

    fn owner(&mut self, fence: Fence, session: SessionId) {
        self.shards.push(fence.shard);
        self.sessions.push(session);
    }
}

/// Applies a batch within the transaction open on `conn`. `Err` means that the transaction must not be committed.
pub(super) fn apply(conn: &Connection, batch: &[Write]) -> Result<Answers> {
    let mentioned = Mentioned::in_batch(batch);
    let kinds = Kinds::of(batch);
    let mut tx = Tx {
        sessions: Sessions::load(conn, &mentioned.sessions)?,
        leases: Leases::load(conn, &mentioned.shards)?,
        stored: Stored::load(conn, &mentioned.keys)?,
        outbox: Outbox::default(),
        slots: batch.iter().map(|_write| None).collect(),
        conn,
    };
    change(&mut tx, &kinds)?;
    tx.stored.flush(tx.conn)?;
    tx.sessions.flush(tx.conn)?;
    // Late, so that what this batch added is numbered too, and the right to number is given back only then.
    leases::stamp(&mut tx, &kinds.stamps)?;
    tx.outbox.flush(tx.conn)?;
    leases::release(&mut tx, &kinds.releases)?;
    let unanswered = || Err(Error::bug("a write without an answer"));
    Ok(tx.slots.into_iter().map(|slot| slot.unwrap_or_else(unanswered)).collect())
}

fn change(tx: &mut Tx<'_>, kinds: &Kinds<'_>) -> Result<()> {
    create::keys(tx, &kinds.keys)?;
    nodes::words(tx, &kinds.nodes)?;
    leases::take(tx, &kinds.leases)?;
    create::sessions(tx, &kinds.creates)?;
    accept::accept(tx, &kinds.accepts)?;
    work::requeue(tx, &kinds.requeues)?;
    work::take(tx, &kinds.takes)?;
    inbound::inbound(tx, &kinds.inbound)?;
    progress::progress(tx, &kinds.progress)?;
    work::finish(tx, &kinds.finishes)?;
    life::life(tx, &kinds.life)?;
    auth::auth(tx, &kinds.auth)?;
    consumers::consumers(tx, &kinds.consumers)?;
    sweep::sweep(tx, &kinds.sweeps)
}
