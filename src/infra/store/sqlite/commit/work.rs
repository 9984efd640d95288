//! The queue of commands as its session sees it: take, put back, finish.

use rusqlite::Connection;

use super::Tx;
use crate::domain::error::Result;
use crate::domain::ids::{Fence, SessionId};
use crate::domain::write::{Finish, Outcome, Take, Taken};
use crate::infra::store::batch::Item;
use crate::infra::store::columns::{Columns, limit};
use crate::infra::store::sqlite::statement::{each, execute, fetch, rows};
use crate::infra::store::views;

// The first condition on `state` is the index's own, word for word: SQLite sees by it that the index applies.
macro_rules! queued {
    ($which:literal) => {
        concat!(
            "select c.id, c.kind, c.seq, m.id, m.wa_id, m.peer, m.content, m.deadline from commands c \
             left join session_messages m on m.id = c.message_id \
             where c.session_id = ? and c.state in ('queued', 'taken') and c.state = 'queued' ",
            $which,
            " order by c.seq limit ?"
        )
    };
}
pub(super) const QUEUED: &str = queued!("");
pub(super) const QUEUED_LIFECYCLE: &str = queued!("and c.kind <> 'session.sendMessage'");
pub(super) const MARK_TAKEN: &str = "update commands set state = 'taken', updated_at = ?2 where id = ?1";
pub(super) const MARK_SENDING: &str =
    "update session_messages set state = 1, updated_at = ?2 where id = ?1 and state = 0";
pub(super) const UNFINISHED: &str = "select session_id, id from commands where id = ?2 and session_id = ?1 \
    and state in ('queued', 'taken') and kind <> 'session.sendMessage'";
pub(super) const MARK_DONE: &str = "update commands set state = 'done' where id = ?";

pub(super) const REQUEUE: &str = "update commands set state = 'queued' \
    where session_id = ? and state in ('queued', 'taken') and state = 'taken'";
/// Whoever takes the session up looks anew at how it is paced.
pub(super) const UNPACE: &str =
    "update sessions set paced_until = null where id = ? and paced_until is not null";

/// Gives queued commands to their sessions.
pub(super) fn take(tx: &mut Tx<'_>, items: &[Item<'_, Take>]) -> Result<()> {
    for &(place, take) in items {
        let answer = match tx.batch.owned(take.fence, take.session) {
            Ok(()) => Ok(Outcome::Taken(take_some(tx.conn, take)?)),
            Err(refusal) => Err(refusal),
        };
        tx.batch.answer(place, answer);
    }
    Ok(())
}

fn take_some(conn: &Connection, take: &Take) -> Result<Vec<Taken>> {
    let sql = if take.lifecycle_only { QUEUED_LIFECYCLE } else { QUEUED };
    let found = rows(conn, sql, |cells| {
        cells.id(take.session.0).int(limit(take.limit));
    })?;
    let mine = found.iter().map(views::taken).collect::<Result<Vec<_>>>()?;
    each(conn, MARK_TAKEN, &mine, |taken, cells| {
        cells.id(taken.command.0).int(take.at.0);
    })?;
    let messages: Vec<_> = mine.iter().filter_map(|taken| taken.message.as_ref()).collect();
    each(conn, MARK_SENDING, &messages, |message, cells| {
        cells.id(message.id.0).int(take.at.0);
    })?;
    Ok(mine)
}

/// Puts back what was taken and not finished.
pub(super) fn requeue(tx: &mut Tx<'_>, items: &[(usize, Fence, SessionId)]) -> Result<()> {
    for &(place, fence, session) in items {
        let answer = match tx.batch.owned(fence, session) {
            Ok(()) => {
                for sql in [REQUEUE, UNPACE] {
                    execute(tx.conn, sql, |cells| {
                        cells.id(session.0);
                    })?;
                }
                Ok(Outcome::Done)
            }
            Err(refusal) => Err(refusal),
        };
        tx.batch.answer(place, answer);
    }
    Ok(())
}

/// Ends lifecycle commands. A command with a message ends with its message only.
pub(super) fn finish(tx: &mut Tx<'_>, items: &[Item<'_, Finish>]) -> Result<()> {
    let mut named = Vec::new();
    for &(place, finish) in items {
        let answer = tx.batch.owned(finish.fence, finish.session).map(|()| Outcome::Done);
        if answer.is_ok() {
            named.extend(finish.commands.iter().map(|command| (finish.session, *command)));
        }
        tx.batch.answer(place, answer);
    }
    named.sort_unstable();
    named.dedup();
    let rows = fetch(tx.conn, UNFINISHED, &named, |(session, command), cells| {
        cells.id(session.0).id(command.0);
    });
    let mut done = Vec::new();
    for row in rows? {
        tx.batch.sessions.finished(SessionId(row.id(0)?))?;
        done.push(row.id(1)?);
    }
    each(tx.conn, MARK_DONE, &done, |id, cells| {
        cells.id(*id);
    })
    .map(drop)
}
