//! Taking commands where sends are paced, and remembering refusals, as rows. Whoever does it holds the session.
//!
//! Takes of different sessions are looked up and written together; only releases, which are rare, go one by one.

use std::collections::{HashMap, HashSet};

use super::Tx;
use crate::domain::error::{Error, Result};
use crate::domain::ids::SessionId;
use crate::domain::pacing::History;
use crate::domain::write::{Outcome, Refused, TakePaced};
use crate::infra::store::batch::Item;
use crate::infra::store::batch::paced::{self, CLOCKS_DIFFER, Candidate, Judged};
use crate::infra::store::columns::{Columns, limit};
use crate::infra::store::postgres::sql::{Cells, execute, row, rows};

const HISTORIES: &str = "select s.id, s.linked_at, p.day, p.sent, p.new_chats, p.rate_at, p.new_chat_at, \
    p.chats_refused, p.chats_until, p.sends_refused, p.sends_until \
    from sessions s left join session_pacing p on p.session_id = s.id where s.id = any($1)";
const SAVE: &str = "insert into session_pacing (session_id, tenant_id, day, sent, new_chats, rate_at, new_chat_at, \
    chats_refused, chats_until, sends_refused, sends_until) \
    select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], \
    $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[]) \
    on conflict (session_id) do update set day = excluded.day, sent = excluded.sent, new_chats = excluded.new_chats, \
    rate_at = excluded.rate_at, new_chat_at = excluded.new_chat_at, chats_refused = excluded.chats_refused, \
    chats_until = excluded.chats_until, sends_refused = excluded.sends_refused, sends_until = excluded.sends_until";
const PAUSE: &str = "update sessions s set paced_until = v.until from unnest($1::uuid[], $2::bigint[]) v(id, until) \
    where s.id = v.id";
const OLDEST: &str = "select created_at from commands \
    where session_id = $1 and state in ('queued', 'taken') order by seq limit 1";
// The first condition on `state` is the index's own.
const LOOK: &str = "select c.id, c.kind, c.seq, m.id, m.wa_id, m.peer, m.content, m.deadline, m.chat_id, m.state, \
    (not exists (select from session_messages n where n.chat_id = m.chat_id \
        and (n.direction = 'in' or n.state between 1 and 5)))::int, \
    (v.since is not null and exists (select from session_messages h join commands k on k.id = h.command_id \
        where h.chat_id = m.chat_id and h.timestamp >= v.since and h.state = 0 and k.state = 'taken' \
        and k.seq < c.seq))::int, v.n \
    from unnest($1::uuid[], $2::bigint[]) with ordinality v(session_id, since, n) \
    cross join lateral (select c.id, c.kind, c.seq, c.message_id from commands c \
        where c.session_id = v.session_id and c.state in ('queued', 'taken') and c.state = 'queued' \
        order by c.seq limit $3) c \
    left join session_messages m on m.id = c.message_id order by v.n, c.seq";
const TAKEN: &str = "update commands c set state = 'taken', updated_at = v.at \
    from unnest($1::uuid[], $2::bigint[]) v(id, at) where c.id = v.id";
const SENDING: &str = "with sending as (update session_messages m set state = 1, updated_at = v.at \
        from unnest($1::uuid[], $2::bigint[]) v(id, at) where m.id = v.id and m.state = 0 \
        returning m.session_id, m.wa_id, m.chat_id, m.direction, m.author, m.id) \
    insert into session_message_ids (session_id, wa_id, chat_id, direction, author, message_id) \
    select * from sending on conflict do nothing";
/// A held message's command is taken while itself is queued.
const RELEASE: &str = "update commands set state = 'queued' where id in (select c.id from commands c \
    join session_messages m on m.id = c.message_id where c.session_id = $1 \
    and c.state in ('queued', 'taken') and c.state = 'taken' and m.state = 0 order by c.seq limit $2)";
const RELEASE_CHATS: &str = "update commands set state = 'queued' where state = 'taken' and id in ( \
    select h.command_id from session_chat_aliases a join session_messages h on h.chat_id = a.chat_id \
    where a.session_id = $1 and a.address = any($2) and h.timestamp >= $3 and h.state = 0 and h.direction = 'out')";

/// Gives queued commands to their sessions, as far as they may go. A second take of a session waits for its round.
pub(super) async fn take(tx: &mut Tx<'_>, items: &[Item<'_, TakePaced>]) -> Result<()> {
    let mut waiting = Vec::new();
    for &(place, take) in items {
        match tx.batch.owned(take.take.fence, take.take.session) {
            Ok(()) => waiting.push((place, take)),
            Err(refusal) => tx.batch.answer(place, Err(refusal)),
        }
    }
    while !waiting.is_empty() {
        let mut seen = HashSet::new();
        let (round, later): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(_, take)| seen.insert(take.take.session));
        take_round(tx, &round).await?;
        waiting = later;
    }
    Ok(())
}

async fn take_round(tx: &mut Tx<'_>, round: &[Item<'_, TakePaced>]) -> Result<()> {
    let (mut since, mut released) = (Vec::new(), Vec::new());
    for (_, take) in round {
        let oldest = if take.holds { Some(held_since(tx, take.take.session).await?) } else { None };
        released.push(release(tx, take, oldest.unwrap_or_default()).await?);
        since.push(oldest);
    }
    let mut candidates = look(tx, round, &since).await?;
    let mut histories = histories(tx, round.iter().map(|(_, take)| take.take.session)).await?;
    let (mut all, mut counted) = (Vec::new(), Vec::new());
    for (((place, take), candidates), released) in round.iter().zip(&mut candidates).zip(released) {
        let session = take.take.session;
        let history = histories.entry(session).or_default();
        let mut judged = paced::judge(take, history, std::mem::take(candidates));
        judged.answer.released = released;
        if judged.counted {
            counted.push((session, *history));
        }
        all.push((*place, *take, judged));
    }
    put(tx, &all).await?;
    save(tx, &counted).await?;
    for (place, _, judged) in all {
        tx.batch.answer(place, Ok(Outcome::Paced(judged.answer)));
    }
    Ok(())
}

/// No held message is older.
async fn held_since(tx: &mut Tx<'_>, session: SessionId) -> Result<i64> {
    let oldest = row(tx.conn, OLDEST, Cells::new().id(session.0)).await?;
    let oldest = oldest.map(|row| row.int(0)).transpose()?;
    Ok(oldest.unwrap_or_default().saturating_sub(CLOCKS_DIFFER))
}

async fn release(tx: &mut Tx<'_>, take: &TakePaced, since: i64) -> Result<usize> {
    let session = Cells::new().id(take.take.session.0);
    if !take.release.chats.is_empty() {
        let cells = Cells::new().id(take.take.session.0);
        let cells = cells.texts(take.release.chats.iter().map(String::as_str)).int(since);
        execute(tx.conn, RELEASE_CHATS, cells).await?;
    }
    if take.release.oldest == 0 {
        return Ok(0);
    }
    let released = execute(tx.conn, RELEASE, session.int(limit(take.release.oldest))).await?;
    usize::try_from(released).map_err(Error::bug)
}

/// The queued commands of each take, with what there is to know about their messages.
async fn look(
    tx: &mut Tx<'_>,
    round: &[Item<'_, TakePaced>],
    since: &[Option<i64>],
) -> Result<Vec<Vec<Candidate>>> {
    let cells = Cells::new()
        .ids(round.iter().map(|(_, take)| take.take.session.0))
        .opt_ints(since.iter().copied())
        .int(limit(TakePaced::LOOK));
    let mut shares: Vec<Vec<Candidate>> = round.iter().map(|_take| Vec::new()).collect();
    for row in rows(tx.conn, LOOK, cells).await? {
        let nth = usize::try_from(row.int(12)? - 1).map_err(Error::bug)?;
        if let Some(share) = shares.get_mut(nth) {
            share.push(paced::candidate(&row)?);
        }
    }
    Ok(shares)
}

async fn put(tx: &mut Tx<'_>, all: &[(usize, &TakePaced, Judged)]) -> Result<()> {
    let mut commands = Vec::new();
    let mut messages = Vec::new();
    let mut pauses = Vec::new();
    for (_, take, judged) in all {
        let at = take.take.at.0;
        commands.extend(judged.held.iter().map(|command| (command.0, at)));
        commands.extend(judged.answer.taken.iter().map(|taken| (taken.command.0, at)));
        messages
            .extend(judged.answer.taken.iter().filter_map(|taken| Some((taken.message.as_ref()?.id.0, at))));
        pauses.extend(judged.answer.waits.map(|wait| (take.take.session.0, wait.not_before.0)));
    }
    for (sql, pairs) in [(TAKEN, commands), (SENDING, messages), (PAUSE, pauses)] {
        if !pairs.is_empty() {
            let cells =
                Cells::new().ids(pairs.iter().map(|(id, _)| *id)).ints(pairs.iter().map(|(_, at)| *at));
            execute(tx.conn, sql, cells).await?;
        }
    }
    Ok(())
}

/// Remembers refusals: those of one batch in their order.
pub(super) async fn refused(tx: &mut Tx<'_>, items: &[Item<'_, Refused>]) -> Result<()> {
    let mut owned = Vec::new();
    for &(place, refused) in items {
        match tx.batch.owned(refused.fence, refused.session) {
            Ok(()) => owned.push((place, refused)),
            Err(refusal) => tx.batch.answer(place, Err(refusal)),
        }
    }
    if owned.is_empty() {
        return Ok(());
    }
    let mut histories = histories(tx, owned.iter().map(|(_, refused)| refused.session)).await?;
    for (place, refused) in owned {
        let history = histories.entry(refused.session).or_default();
        history.note_refused(&refused.rules, refused.refusal, refused.at);
        let until = history.forgets_at(&refused.rules);
        tx.batch.answer(place, Ok(Outcome::Cooling(until)));
    }
    let changed: Vec<_> = histories.into_iter().collect();
    save(tx, &changed).await
}

async fn histories(
    tx: &mut Tx<'_>,
    sessions: impl Iterator<Item = SessionId>,
) -> Result<HashMap<SessionId, History>> {
    let mut histories = HashMap::new();
    for row in rows(tx.conn, HISTORIES, Cells::new().ids(sessions.map(|id| id.0))).await? {
        histories.insert(SessionId(row.id(0)?), paced::history(&row, 1)?);
    }
    Ok(histories)
}

async fn save(tx: &mut Tx<'_>, changed: &[(SessionId, History)]) -> Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let mut tenants = Vec::new();
    for (session, _) in changed {
        tenants.push(tx.batch.sessions.live(*session)?.tenant.0);
    }
    let numbers: Vec<_> = changed.iter().map(|(_, history)| paced::columns(history)).collect();
    let cells = Cells::new().ids(changed.iter().map(|(session, _)| session.0)).ids(tenants.into_iter());
    let cells = (0..9).fold(cells, |cells, column| cells.ints(numbers.iter().map(|row| row[column])));
    execute(tx.conn, SAVE, cells).await.map(drop)
}
