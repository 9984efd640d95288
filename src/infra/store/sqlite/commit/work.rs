//! The queue of commands as its session sees it: take, put back, finish.

use std::collections::{BTreeMap, HashMap, HashSet};

use sqlx::sqlite::SqliteRow;

use super::{Item, Tx};
use crate::domain::content::Content;
use crate::domain::error::Result;
use crate::domain::ids::{CommandId, Fence, MessageId, SessionId, WaId};
use crate::domain::time::Timestamp;
use crate::domain::write::{Finish, NewMessage, Outcome, Take, Taken};
use crate::infra::store::sqlite::sql::{Bulk, Columns, execute, limit};

// The first condition on `state` is the index's own, word for word: SQLite sees by it that the index applies.
pub(super) static QUEUED: Bulk = Bulk::new(
    "select c.session_id, c.id, c.kind, c.seq, m.id, m.wa_id, m.peer, m.content, m.deadline from (values ",
    2,
    ") v cross join commands c on c.id in ( \
        select q.id from commands q where q.session_id = v.column1 and q.state in ('queued', 'taken') \
        and q.state = 'queued' and (v.column2 = 0 or q.kind <> 'session.sendMessage') order by q.seq limit ?) \
     left join session_messages m on m.id = c.message_id",
);
pub(super) static MARK_TAKEN: Bulk = Bulk::new(
    "update commands set state = 'taken', updated_at = v.column2 from (values ",
    2,
    ") v where commands.id = v.column1",
);
pub(super) static MARK_SENDING: Bulk = Bulk::new(
    "update session_messages set state = 1, updated_at = v.column2 from (values ",
    2,
    ") v where session_messages.id = v.column1 and likely(state = 0)",
);
pub(super) static UNFINISHED: Bulk = Bulk::new(
    "select c.session_id, c.id from (values ",
    2,
    ") v cross join commands c on c.id = v.column2 and c.session_id = v.column1 \
     and c.state in ('queued', 'taken') and c.kind <> 'session.sendMessage'",
);
pub(super) static MARK_DONE: Bulk =
    Bulk::new("update commands set state = 'done' where id in (values ", 1, ")");

pub(super) const REQUEUE: &str = "update commands set state = 'queued' \
    where session_id = ? and state in ('queued', 'taken') and state = 'taken'";

/// Gives queued commands to their sessions.
pub(super) async fn take(tx: &mut Tx<'_>, items: &[Item<'_, Take>]) -> Result<()> {
    let mut by_limit: BTreeMap<usize, Vec<Item<'_, Take>>> = BTreeMap::new();
    // Two takes of one session in one batch would be given the same commands: the second finds none.
    let mut served = HashSet::new();
    for &(place, take) in items {
        match tx.owned(take.fence, take.session) {
            Err(refusal) => tx.answer(place, Err(refusal)),
            Ok(()) if served.insert(take.session) => {
                by_limit.entry(take.limit).or_default().push((place, take))
            }
            Ok(()) => tx.answer(place, Ok(Outcome::Taken(Vec::new()))),
        }
    }
    for (most, items) in by_limit {
        take_some(tx, &items, most).await?;
    }
    Ok(())
}

async fn take_some(tx: &mut Tx<'_>, items: &[Item<'_, Take>], most: usize) -> Result<()> {
    let rows = QUEUED.fetch_with(
        tx.conn,
        items,
        |(_, take), cells| {
            cells.id(take.session.0).int(i64::from(take.lifecycle_only));
        },
        limit(most),
    );
    let mut found: HashMap<SessionId, Vec<Taken>> = HashMap::new();
    for row in rows.await? {
        found.entry(SessionId(row.id(0)?)).or_default().push(taken(&row)?);
    }
    let (mut commands, mut messages) = (Vec::new(), Vec::new());
    for (place, take) in items {
        let mut mine = found.remove(&take.session).unwrap_or_default();
        mine.sort_unstable_by_key(|taken| taken.seq);
        commands.extend(mine.iter().map(|taken| (taken.command, take.at)));
        messages.extend(mine.iter().filter_map(|taken| Some((taken.message.as_ref()?.id, take.at))));
        tx.answer(*place, Ok(Outcome::Taken(mine)));
    }
    MARK_TAKEN
        .execute(tx.conn, &commands, |(id, at), cells| {
            cells.id(id.0).int(at.0);
        })
        .await?;
    MARK_SENDING
        .execute(tx.conn, &messages, |(id, at), cells| {
            cells.id(id.0).int(at.0);
        })
        .await
        .map(drop)
}

fn taken(row: &SqliteRow) -> Result<Taken> {
    let message = match row.opt_id(4)? {
        Some(id) => Some(NewMessage {
            id: MessageId(id),
            wa_id: WaId(row.text(5)?.to_owned()),
            to: row.parsed(6)?,
            content: Content::stored(row.text(7)?),
            deadline: Timestamp(row.opt_int(8)?.unwrap_or(i64::MAX)),
        }),
        None => None,
    };
    Ok(Taken { command: CommandId(row.id(1)?), kind: row.parsed(2)?, seq: row.int(3)?, message })
}

/// Puts back what was taken and not finished.
pub(super) async fn requeue(tx: &mut Tx<'_>, items: &[(usize, Fence, SessionId)]) -> Result<()> {
    for &(place, fence, session) in items {
        let answer = match tx.owned(fence, session) {
            Ok(()) => {
                execute(tx.conn, REQUEUE, |cells| {
                    cells.id(session.0);
                })
                .await?;
                Ok(Outcome::Done)
            }
            Err(refusal) => Err(refusal),
        };
        tx.answer(place, answer);
    }
    Ok(())
}

/// Ends lifecycle commands. A command with a message ends with its message only.
pub(super) async fn finish(tx: &mut Tx<'_>, items: &[Item<'_, Finish>]) -> Result<()> {
    let mut named = Vec::new();
    for &(place, finish) in items {
        let answer = tx.owned(finish.fence, finish.session).map(|()| Outcome::Done);
        if answer.is_ok() {
            named.extend(finish.commands.iter().map(|command| (finish.session, *command)));
        }
        tx.answer(place, answer);
    }
    named.sort_unstable();
    named.dedup();
    let rows = UNFINISHED.fetch(tx.conn, &named, |(session, command), cells| {
        cells.id(session.0).id(command.0);
    });
    let mut done = Vec::new();
    for row in rows.await? {
        tx.sessions.finished(SessionId(row.id(0)?))?;
        done.push(row.id(1)?);
    }
    MARK_DONE
        .execute(tx.conn, &done, |id, cells| {
            cells.id(*id);
        })
        .await
        .map(drop)
}
