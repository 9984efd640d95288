//! The queue of commands as its session sees it: take, put back, finish. Whoever changes it holds the session.

use std::collections::HashSet;

use super::Tx;
use crate::domain::error::{Error, Result};
use crate::domain::ids::{Fence, SessionId};
use crate::domain::write::{Finish, Outcome, Take, Taken};
use crate::infra::store::batch::Item;
use crate::infra::store::columns::{Columns, limit};
use crate::infra::store::postgres::sql::{Cells, execute, rows};
use crate::infra::store::views;

// The first condition on `state` is the index's own.
macro_rules! take {
    ($which:literal) => {
        concat!(
            "with picked as (select v.n, v.at, c.id, c.kind, c.seq, c.message_id \
                from unnest($1::uuid[], $2::bigint[], $3::bigint[]) with ordinality v(session_id, most, at, n) \
                cross join lateral (select c.id, c.kind, c.seq, c.message_id from commands c \
                where c.session_id = v.session_id and c.state in ('queued', 'taken') and c.state = 'queued' ",
            $which,
            " order by c.seq limit v.most) c), \
            taken as (update commands c set state = 'taken', updated_at = p.at from picked p where c.id = p.id), \
            sending as (update session_messages m set state = 1, updated_at = p.at from picked p \
                where m.id = p.message_id and m.state = 0 \
                returning m.session_id, m.wa_id, m.chat_id, m.direction, m.author, m.id), \
            named as (insert into session_message_ids (session_id, wa_id, chat_id, direction, author, message_id) \
                select * from sending on conflict do nothing) \
            select p.id, p.kind, p.seq, m.id, m.wa_id, m.peer, m.content, m.deadline, p.n from picked p \
            left join session_messages m on m.id = p.message_id order by p.n, p.seq"
        )
    };
}
const TAKE: &str = take!("");
const TAKE_LIFECYCLE: &str = take!("and c.kind <> 'session.sendMessage'");
const REQUEUE: &str = "update commands set state = 'queued' where session_id = any($1) \
    and state in ('queued', 'taken') and state = 'taken'";
/// Whoever takes the session up looks anew at how it is paced.
const UNPACE: &str = "update sessions set paced_until = null where id = any($1) and paced_until is not null";
const FINISH: &str = "update commands c set state = 'done' from unnest($1::uuid[], $2::uuid[]) v(session_id, id) \
    where c.id = v.id and c.session_id = v.session_id and c.state in ('queued', 'taken') \
    and c.kind <> 'session.sendMessage' returning c.session_id";

/// Gives queued commands to their sessions. Two takes of one session share nothing: the second waits for its round.
pub(super) async fn take(tx: &mut Tx<'_>, items: &[Item<'_, Take>]) -> Result<()> {
    let mut waiting = Vec::new();
    for &(place, take) in items {
        match tx.batch.owned(take.fence, take.session) {
            Ok(()) => waiting.push((place, take)),
            Err(refusal) => tx.batch.answer(place, Err(refusal)),
        }
    }
    while !waiting.is_empty() {
        let mut seen = HashSet::new();
        let (round, later): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(_, take)| seen.insert(take.session));
        let (lifecycle, all): (Vec<_>, Vec<_>) = round.into_iter().partition(|(_, take)| take.lifecycle_only);
        take_round(tx, TAKE, &all).await?;
        take_round(tx, TAKE_LIFECYCLE, &lifecycle).await?;
        waiting = later;
    }
    Ok(())
}

async fn take_round(tx: &mut Tx<'_>, sql: &'static str, round: &[Item<'_, Take>]) -> Result<()> {
    if round.is_empty() {
        return Ok(());
    }
    let cells = Cells::new()
        .ids(round.iter().map(|(_, take)| take.session.0))
        .ints(round.iter().map(|(_, take)| limit(take.limit)))
        .ints(round.iter().map(|(_, take)| take.at.0));
    let mut shares: Vec<Vec<Taken>> = round.iter().map(|_take| Vec::new()).collect();
    for row in rows(tx.conn, sql, cells).await? {
        let nth = usize::try_from(row.int(8)? - 1).map_err(Error::bug)?;
        if let Some(share) = shares.get_mut(nth) {
            share.push(views::taken(&row)?);
        }
    }
    for ((place, _), share) in round.iter().zip(shares) {
        tx.batch.answer(*place, Ok(Outcome::Taken(share)));
    }
    Ok(())
}

/// Puts back what was taken and not finished.
pub(super) async fn requeue(tx: &mut Tx<'_>, items: &[(usize, Fence, SessionId)]) -> Result<()> {
    let mut sessions = Vec::new();
    for &(place, fence, session) in items {
        let answer = tx.batch.owned(fence, session).map(|()| Outcome::Done);
        if answer.is_ok() {
            sessions.push(session.0);
        }
        tx.batch.answer(place, answer);
    }
    if sessions.is_empty() {
        return Ok(());
    }
    execute(tx.conn, REQUEUE, Cells::new().ids(sessions.iter().copied())).await?;
    execute(tx.conn, UNPACE, Cells::new().ids(sessions.into_iter())).await.map(drop)
}

/// Ends lifecycle commands. A command with a message ends with its message only.
pub(super) async fn finish(tx: &mut Tx<'_>, items: &[Item<'_, Finish>]) -> Result<()> {
    let mut named = Vec::new();
    for &(place, finish) in items {
        let answer = tx.batch.owned(finish.fence, finish.session).map(|()| Outcome::Done);
        if answer.is_ok() {
            named.extend(finish.commands.iter().map(|command| (finish.session.0, command.0)));
        }
        tx.batch.answer(place, answer);
    }
    named.sort_unstable();
    named.dedup();
    if named.is_empty() {
        return Ok(());
    }
    let cells = Cells::new()
        .ids(named.iter().map(|(session, _)| *session))
        .ids(named.iter().map(|(_, command)| *command));
    for row in rows(tx.conn, FINISH, cells).await? {
        tx.batch.sessions.finished(SessionId(row.id(0)?))?;
    }
    Ok(())
}
