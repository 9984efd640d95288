//! One batch, one transaction: each kind is read, judged ([`batch`](crate::infra::store::batch)) and written as a whole.
//!
//! Promises: a refusal changes nothing; a batch costs a number of statements that does not grow with it. What is counted
//! is locked before it is read, by every writer in the same order: tenants, leases, sessions (each by id), relays. What
//! two writers may both be first to use (an idempotency key, a name, a command's id) is left to the unique index: the
//! later one's transaction fails as a whole, and tried again it finds what the earlier one wrote.

mod accept;
mod audit;
mod auth;
mod chats;
mod close;
mod consumers;
mod create;
mod express;
mod handled;
mod hold;
mod idempotency;
mod inbound;
mod keys;
mod leases;
mod life;
mod logins;
mod nodes;
mod paced;
mod people;
mod progress;
mod short;
mod stamp;
mod sweep;
mod tenants;
mod work;

use sqlx::postgres::PgConnection;

use super::sql::plain;
use crate::domain::error::Result;
use crate::domain::write::Write;
use crate::infra::store::Answers;
use crate::infra::store::batch::Batch;
use crate::infra::store::batch::kinds::{Kinds, Mentioned};
pub(super) use chats::ChatIds;
use hold::Heads;
pub(super) use short::commit;

/// The open transaction, and the batch applied in it.
struct Tx<'c> {
    conn: &'c mut PgConnection,
    chat_ids: &'c ChatIds,
    batch: Batch,
    /// The logs it numbers.
    heads: Heads,
}

/// Applies a batch in a transaction of its own. After an `Err` one may be open still, or the connection be gone.
async fn apply(conn: &mut PgConnection, chat_ids: &ChatIds, writes: &[Write]) -> Result<Answers> {
    let mut mentioned = Mentioned::in_batch(writes);
    let kinds = Kinds::of(writes);
    plain(conn, "begin").await?;
    let mut tx = Tx { conn, chat_ids, batch: Batch::of(writes.len()), heads: Heads::new() };
    lock(&mut tx, &kinds, &mut mentioned).await?;
    change(&mut tx, &kinds).await?;
    idempotency::flush(&mut tx).await?;
    audit::flush(&mut tx).await?;
    tenants::flush(&mut tx).await?;
    // Late, so that what this batch added is numbered too, and the right to number is given back only then.
    stamp::stamp(&mut tx, &kinds.stamps).await?;
    close::close(&mut tx).await?;
    leases::release(&mut tx, &kinds.releases).await?;
    plain(tx.conn, "commit").await?;
    Ok(tx.batch.answers())
}

/// Takes the locks, and reads what they protect.
async fn lock(tx: &mut Tx<'_>, kinds: &Kinds<'_>, mentioned: &mut Mentioned) -> Result<()> {
    tenants::lock(tx, &kinds.keys, &kinds.creates, &mentioned.tenants).await?;
    leases::take(tx, &kinds.leases).await?;
    sweep::look(tx, &kinds.sweeps, &mut mentioned.sessions).await?;
    hold::hold(tx, mentioned, &kinds.stamps).await?;
    idempotency::load(tx, &mentioned.keys).await
}

async fn change(tx: &mut Tx<'_>, kinds: &Kinds<'_>) -> Result<()> {
    keys::keys(tx, &kinds.keys).await?;
    people::people(tx, &kinds.people).await?;
    nodes::words(tx, &kinds.nodes).await?;
    create::sessions(tx, &kinds.creates).await?;
    accept::accept(tx, &kinds.accepts).await?;
    work::requeue(tx, &kinds.requeues).await?;
    work::take(tx, &kinds.takes).await?;
    paced::refused(tx, &kinds.refusals).await?;
    paced::take(tx, &kinds.paced).await?;
    inbound::inbound(tx, &kinds.inbound).await?;
    progress::progress(tx, &kinds.progress).await?;
    work::finish(tx, &kinds.finishes).await?;
    life::life(tx, &kinds.life).await?;
    auth::auth(tx, &kinds.auth).await?;
    consumers::consumers(tx, &kinds.consumers).await?;
    sweep::sweep(tx, &kinds.sweeps).await
}
