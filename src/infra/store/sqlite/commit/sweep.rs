//! Upkeep in bounded steps: overdue messages fail, old idempotency keys go.

use super::{Tx, progress, sessions};
use crate::domain::error::Result;
use crate::domain::ids::Shard;
use crate::domain::write::{Outcome, Sweep};
use crate::infra::store::batch::Item;
use crate::infra::store::batch::progress::{self as moves, Ended, overdue};
use crate::infra::store::columns::limit;
use crate::infra::store::sqlite::statement::{execute, rows};

// A held message is queued while its command is taken; where nothing may go, the session says so.
// The conditions are the index's own, word for word: SQLite sees by them that it applies.
pub(super) const OVERDUE: &str = "select m.session_id, m.id, m.wa_id, c.jid, m.peer, m.state, k.id, \
    m.state = 0 and (k.state = 'taken' or coalesce(s.paced_until, 0) >= k.deadline) from commands k \
    cross join session_messages m on m.id = k.message_id cross join session_chats c on c.id = m.chat_id \
    cross join sessions s on s.id = k.session_id \
    where k.shard = ? and k.deadline is not null and k.state in ('queued', 'taken') and k.deadline <= ? \
    order by k.deadline limit ?";
pub(super) const OLD_KEYS: &str = "delete from idempotency where created_at < ? and id in \
    (select id from idempotency v order by id limit ?)";

// Long expired: whoever comes with one now is told that it is unknown instead.
pub(super) const OLD_TOKENS: &str = "delete from one_time_tokens where id in \
    (select id from one_time_tokens v where v.expires_at < ? order by v.expires_at limit ?)";
pub(super) const OLD_LOGINS: &str = "delete from logins where id in \
    (select id from logins v where v.expires_at < ? order by v.expires_at limit ?)";
const RETIRED: &str = "delete from signing_keys where retires_at is not null and retires_at < ?1 and ?2 > 0";

/// Sweeps.
pub(super) fn sweep(tx: &mut Tx<'_>, items: &[Item<'_, Sweep>]) -> Result<()> {
    for &(place, sweep) in items {
        let answer = match tx.batch.leases.check(sweep.fence) {
            Ok(()) => {
                let failed = fail_overdue(tx, sweep)?;
                let removed = execute(tx.conn, OLD_KEYS, |cells| {
                    cells.int(sweep.keys_before.0).int(limit(sweep.limit));
                });
                Ok(Outcome::Swept(failed + removed? + forget(tx, sweep)?))
            }
            Err(refusal) => Err(refusal),
        };
        tx.batch.answer(place, answer);
    }
    Ok(())
}

/// What people leave behind is no shard's: the first one's sweep takes it.
fn forget(tx: &Tx<'_>, sweep: &Sweep) -> Result<usize> {
    let mut removed = 0;
    if sweep.fence.shard == Shard(0) {
        for sql in [OLD_TOKENS, OLD_LOGINS, RETIRED] {
            removed += execute(tx.conn, sql, |cells| {
                cells.int(sweep.keys_before.0).int(limit(sweep.limit));
            })?;
        }
    }
    Ok(removed)
}

fn fail_overdue(tx: &mut Tx<'_>, sweep: &Sweep) -> Result<usize> {
    let found = rows(tx.conn, OVERDUE, |cells| {
        cells.int(i64::from(sweep.fence.shard.0)).int(sweep.at.0).int(limit(sweep.limit));
    })?;
    let found = found.iter().map(overdue).collect::<Result<Vec<_>>>()?;
    let (mut messages, held): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    let mut owners: Vec<_> = messages.iter().map(|message| message.session).collect();
    owners.sort_unstable();
    owners.dedup();
    sessions::load(tx, &owners)?;
    let mut ended = Ended::default();
    moves::fail_overdue(&mut tx.batch, (&mut messages, &held), sweep.at, &mut ended)?;
    progress::save(tx.conn, messages.iter())?;
    progress::end(tx.conn, &ended)?;
    Ok(messages.len())
}
