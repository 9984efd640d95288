//! Upkeep in bounded steps: overdue messages fail, old idempotency keys go.

use super::{Tx, progress};
use crate::domain::error::Result;
use crate::domain::ids::{SessionId, Shard};
use crate::domain::write::{Outcome, Sweep};
use crate::infra::store::batch::Item;
use crate::infra::store::batch::progress::{self as moves, Ended, overdue};
use crate::infra::store::columns::{Columns, limit};
use crate::infra::store::postgres::sql::{Cells, execute, rows};

const LOOK: &str = "select session_id from commands where shard = $1 and deadline is not null \
    and state in ('queued', 'taken') and deadline <= $2 order by deadline limit $3";
/// A held message is queued while its command is taken; where nothing may go, the session says so.
/// Of the sessions that are locked: one that fell due since is for the next sweep.
const OVERDUE: &str = "select m.session_id, m.id, m.wa_id, c.jid, m.peer, m.state, k.id, \
    (m.state = 0 and (k.state = 'taken' or coalesce(s.paced_until, 0) >= k.deadline))::int from commands k \
    join session_messages m on m.id = k.message_id join session_chats c on c.id = m.chat_id \
    join sessions s on s.id = k.session_id \
    where k.shard = $1 and k.deadline is not null and k.state in ('queued', 'taken') and k.deadline <= $2 \
    and k.session_id = any($4) order by k.deadline limit $3";
/// What another node's sweep is removing at the same moment is left to it.
const OLD_KEYS: &str = "delete from idempotency where (tenant_id, key) in (select tenant_id, key from idempotency \
    where created_at < $1 order by created_at limit $2 for update skip locked)";

// Long expired: whoever comes with one now is told that it is unknown instead.
const OLD_TOKENS: &str = "delete from one_time_tokens where id in (select id from one_time_tokens \
    where expires_at < $1 order by expires_at limit $2 for update skip locked)";
const OLD_LOGINS: &str = "delete from logins where id in (select id from logins \
    where expires_at < $1 order by expires_at limit $2 for update skip locked)";
const RETIRED: &str =
    "delete from signing_keys where retires_at is not null and retires_at < $1 and $2::bigint > 0";

/// Finds whose messages are overdue, so that those sessions are locked with the others.
pub(super) async fn look(
    tx: &mut Tx<'_>,
    items: &[Item<'_, Sweep>],
    sessions: &mut Vec<SessionId>,
) -> Result<()> {
    for (_, sweep) in items {
        let cells = Cells::new().int(i64::from(sweep.fence.shard.0)).int(sweep.at.0).int(limit(sweep.limit));
        for row in rows(tx.conn, LOOK, cells).await? {
            sessions.push(SessionId(row.id(0)?));
        }
    }
    sessions.sort_unstable();
    sessions.dedup();
    Ok(())
}

/// Sweeps.
pub(super) async fn sweep(tx: &mut Tx<'_>, items: &[Item<'_, Sweep>]) -> Result<()> {
    for &(place, sweep) in items {
        let answer = match tx.batch.leases.check(sweep.fence) {
            Ok(()) => {
                let failed = fail_overdue(tx, sweep).await?;
                let cells = Cells::new().int(sweep.keys_before.0).int(limit(sweep.limit));
                let removed = execute(tx.conn, OLD_KEYS, cells).await?;
                let removed = removed + forget(tx, sweep).await?;
                Ok(Outcome::Swept(failed + usize::try_from(removed).unwrap_or(usize::MAX)))
            }
            Err(refusal) => Err(refusal),
        };
        tx.batch.answer(place, answer);
    }
    Ok(())
}

/// What people leave behind is no shard's: the first one's sweep takes it.
async fn forget(tx: &mut Tx<'_>, sweep: &Sweep) -> Result<u64> {
    let mut removed = 0;
    if sweep.fence.shard == Shard(0) {
        for sql in [OLD_TOKENS, OLD_LOGINS, RETIRED] {
            let cells = Cells::new().int(sweep.keys_before.0).int(limit(sweep.limit));
            removed += execute(tx.conn, sql, cells).await?;
        }
    }
    Ok(removed)
}

async fn fail_overdue(tx: &mut Tx<'_>, sweep: &Sweep) -> Result<usize> {
    let locked = tx.batch.sessions.ids();
    let cells = Cells::new().int(i64::from(sweep.fence.shard.0)).int(sweep.at.0).int(limit(sweep.limit));
    let found = rows(tx.conn, OVERDUE, cells.ids(locked.into_iter().map(|id| id.0))).await?;
    let found = found.iter().map(overdue).collect::<Result<Vec<_>>>()?;
    let (mut messages, held): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    let mut ended = Ended::default();
    moves::fail_overdue(&mut tx.batch, (&mut messages, &held), sweep.at, &mut ended)?;
    progress::save(tx.conn, &messages).await?;
    progress::end(tx.conn, &ended).await?;
    Ok(messages.len())
}
