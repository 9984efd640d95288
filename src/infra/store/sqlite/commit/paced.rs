//! Taking commands where sends are paced, and remembering refusals, as rows.

use super::Tx;
use super::work::{MARK_SENDING, MARK_TAKEN};
use crate::domain::error::Result;
use crate::domain::ids::SessionId;
use crate::domain::pacing::History;
use crate::domain::write::{Outcome, Paced, Refused, TakePaced};
use crate::infra::store::batch::Item;
use crate::infra::store::batch::paced::{self, CLOCKS_DIFFER, Judged};
use crate::infra::store::columns::{Columns, limit};
use crate::infra::store::sqlite::statement::{each, execute, row, rows};

pub(super) const HISTORY: &str = "select s.linked_at, p.day, p.sent, p.new_chats, p.rate_at, p.new_chat_at, \
    p.chats_refused, p.chats_until, p.sends_refused, p.sends_until \
    from sessions s left join session_pacing p on p.session_id = s.id where s.id = ?";
const SAVE: &str = "insert into session_pacing (session_id, tenant_id, day, sent, new_chats, rate_at, new_chat_at, \
    chats_refused, chats_until, sends_refused, sends_until) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
    on conflict (session_id) do update set day = excluded.day, sent = excluded.sent, new_chats = excluded.new_chats, \
    rate_at = excluded.rate_at, new_chat_at = excluded.new_chat_at, chats_refused = excluded.chats_refused, \
    chats_until = excluded.chats_until, sends_refused = excluded.sends_refused, sends_until = excluded.sends_until";
pub(super) const PAUSE: &str = "update sessions set paced_until = ?2 where id = ?1";

// The first condition on `state` is the index's own, word for word: SQLite sees by it that the index applies.
pub(super) const OLDEST: &str = "select created_at from commands \
    where session_id = ? and state in ('queued', 'taken') order by seq limit 1";
/// ?3: whether messages are held, and ?4: since when.
pub(super) const LOOK: &str = "select c.id, c.kind, c.seq, m.id, m.wa_id, m.peer, m.content, m.deadline, m.chat_id, \
    m.state, not exists (select 1 from session_messages n where n.chat_id = m.chat_id \
        and (n.direction = 'in' or n.state between 1 and 5)), \
    ?3 and exists (select 1 from session_messages h cross join commands k on k.id = h.command_id \
        where h.chat_id = m.chat_id and h.timestamp >= ?4 and h.state = 0 and k.state = 'taken' and k.seq < c.seq) \
    from commands c left join session_messages m on m.id = c.message_id \
    where c.session_id = ?1 and c.state in ('queued', 'taken') and c.state = 'queued' order by c.seq limit ?2";
/// A held message's command is taken while itself is queued.
pub(super) const RELEASE: &str = "update commands set state = 'queued' where id in (select c.id from commands c \
    cross join session_messages m on m.id = c.message_id where c.session_id = ?1 \
    and c.state in ('queued', 'taken') and c.state = 'taken' and m.state = 0 order by c.seq limit ?2)";
pub(super) const RELEASE_CHAT: &str = "update commands set state = 'queued' where state = 'taken' and id in ( \
    select h.command_id from session_chat_aliases a cross join session_messages h on h.chat_id = a.chat_id \
    where a.session_id = ?1 and a.address = ?2 and h.timestamp >= ?3 and h.state = 0 and h.direction = 'out')";

/// Gives queued commands to their sessions, as far as they may go.
pub(super) fn take(tx: &mut Tx<'_>, items: &[Item<'_, TakePaced>]) -> Result<()> {
    for &(place, take) in items {
        let answer = match tx.batch.owned(take.take.fence, take.take.session) {
            Ok(()) => Ok(Outcome::Paced(take_some(tx, take)?)),
            Err(refusal) => Err(refusal),
        };
        tx.batch.answer(place, answer);
    }
    Ok(())
}

fn take_some(tx: &mut Tx<'_>, take: &TakePaced) -> Result<Paced> {
    let session = take.take.session;
    let since = if take.holds { since(tx, session)? } else { 0 };
    let released = release(tx, take, since)?;
    let found = rows(tx.conn, LOOK, |cells| {
        cells.id(session.0).int(limit(TakePaced::LOOK)).int(i64::from(take.holds)).int(since);
    })?;
    let candidates = found.iter().map(paced::candidate).collect::<Result<Vec<_>>>()?;
    let mut history = history(tx, session)?;
    let mut judged = paced::judge(take, &mut history, candidates);
    judged.answer.released = released;
    put(tx, take, &judged)?;
    if judged.counted {
        save(tx, session, &history)?;
    }
    Ok(judged.answer)
}

/// No held message is older.
fn since(tx: &Tx<'_>, session: SessionId) -> Result<i64> {
    let oldest = row(tx.conn, OLDEST, |cells| {
        cells.id(session.0);
    })?;
    let oldest = oldest.map(|row| row.int(0)).transpose()?;
    Ok(oldest.unwrap_or_default().saturating_sub(CLOCKS_DIFFER))
}

fn release(tx: &Tx<'_>, take: &TakePaced, since: i64) -> Result<usize> {
    let session = take.take.session;
    each(tx.conn, RELEASE_CHAT, &take.release.chats, |address, cells| {
        cells.id(session.0).text(address).int(since);
    })?;
    if take.release.oldest == 0 {
        return Ok(0);
    }
    execute(tx.conn, RELEASE, |cells| {
        cells.id(session.0).int(limit(take.release.oldest));
    })
}

fn put(tx: &Tx<'_>, take: &TakePaced, judged: &Judged) -> Result<()> {
    let (at, answer) = (take.take.at.0, &judged.answer);
    each(tx.conn, MARK_TAKEN, &judged.held, |command, cells| {
        cells.id(command.0).int(at);
    })?;
    each(tx.conn, MARK_TAKEN, &answer.taken, |taken, cells| {
        cells.id(taken.command.0).int(at);
    })?;
    let messages: Vec<_> = answer.taken.iter().filter_map(|taken| taken.message.as_ref()).collect();
    each(tx.conn, MARK_SENDING, &messages, |message, cells| {
        cells.id(message.id.0).int(at);
    })?;
    if let Some(wait) = answer.waits {
        execute(tx.conn, PAUSE, |cells| {
            cells.id(take.take.session.0).int(wait.not_before.0);
        })?;
    }
    Ok(())
}

/// Remembers refusals.
pub(super) fn refused(tx: &mut Tx<'_>, items: &[Item<'_, Refused>]) -> Result<()> {
    for &(place, refused) in items {
        let answer = match tx.batch.owned(refused.fence, refused.session) {
            Ok(()) => {
                let mut history = history(tx, refused.session)?;
                history.note_refused(&refused.rules, refused.refusal, refused.at);
                save(tx, refused.session, &history)?;
                Ok(Outcome::Cooling(history.forgets_at(&refused.rules)))
            }
            Err(refusal) => Err(refusal),
        };
        tx.batch.answer(place, answer);
    }
    Ok(())
}

fn history(tx: &Tx<'_>, session: SessionId) -> Result<History> {
    let found = row(tx.conn, HISTORY, |cells| {
        cells.id(session.0);
    })?;
    found.map_or_else(|| Ok(History::default()), |row| paced::history(&row, 0))
}

fn save(tx: &Tx<'_>, session: SessionId, history: &History) -> Result<()> {
    let tenant = tx.batch.sessions.live(session)?.tenant;
    execute(tx.conn, SAVE, |cells| {
        cells.id(session.0).id(tenant.0);
        for number in paced::columns(history) {
            cells.int(number);
        }
    })
    .map(drop)
}
