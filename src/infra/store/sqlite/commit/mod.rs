//! One batch, one transaction: each kind is read, judged ([`batch`](crate::infra::store::batch)) and written as a whole.
//!
//! Promises: a refusal changes nothing. Between kinds the order is that of [`apply`]; the writes of a batch were all
//! waiting at once, so any order is one their senders could have seen.

mod accept;
mod audit;
mod auth;
mod chats;
mod consumers;
mod create;
mod idempotency;
mod inbound;
mod keys;
mod leases;
mod life;
mod logins;
mod nodes;
mod outbox;
mod paced;
mod people;
#[cfg(test)]
mod plans;
mod progress;
mod sessions;
mod sweep;
mod tenants;
mod work;

use rusqlite::Connection;

use crate::domain::error::Result;
use crate::domain::write::Write;
use crate::infra::store::Answers;
use crate::infra::store::batch::Batch;
use crate::infra::store::batch::kinds::{Kinds, Mentioned};

/// The open transaction, and the batch applied in it.
struct Tx<'c> {
    conn: &'c Connection,
    batch: Batch,
}

/// Applies a batch within the transaction open on `conn`. `Err` means that the transaction must not be committed.
pub(super) fn apply(conn: &Connection, writes: &[Write]) -> Result<Answers> {
    let mentioned = Mentioned::in_batch(writes);
    let kinds = Kinds::of(writes);
    let mut tx = Tx { conn, batch: Batch::of(writes.len()) };
    tenants::load(&mut tx, &mentioned.tenants)?;
    sessions::load(&mut tx, &mentioned.sessions)?;
    leases::load(&mut tx, &mentioned.shards)?;
    idempotency::load(&mut tx, &mentioned.keys)?;
    change(&mut tx, &kinds)?;
    idempotency::flush(&mut tx)?;
    audit::flush(&mut tx)?;
    tenants::flush(&mut tx)?;
    sessions::flush(&mut tx)?;
    // Late, so that what this batch added is numbered too, and the right to number is given back only then.
    leases::stamp(&mut tx, &kinds.stamps)?;
    outbox::flush(&mut tx)?;
    leases::release(&mut tx, &kinds.releases)?;
    Ok(tx.batch.answers())
}

fn change(tx: &mut Tx<'_>, kinds: &Kinds<'_>) -> Result<()> {
    keys::keys(tx, &kinds.keys)?;
    people::people(tx, &kinds.people)?;
    nodes::words(tx, &kinds.nodes)?;
    leases::take(tx, &kinds.leases)?;
    create::sessions(tx, &kinds.creates)?;
    accept::accept(tx, &kinds.accepts)?;
    work::requeue(tx, &kinds.requeues)?;
    work::take(tx, &kinds.takes)?;
    paced::refused(tx, &kinds.refusals)?;
    paced::take(tx, &kinds.paced)?;
    inbound::inbound(tx, &kinds.inbound)?;
    progress::progress(tx, &kinds.progress)?;
    work::finish(tx, &kinds.finishes)?;
    life::life(tx, &kinds.life)?;
    auth::auth(tx, &kinds.auth)?;
    consumers::consumers(tx, &kinds.consumers)?;
    sweep::sweep(tx, &kinds.sweeps)
}
