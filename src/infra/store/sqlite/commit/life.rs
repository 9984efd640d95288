//! The life of a session, as rows.

use super::auth::{WIPE_CREDS, WIPE_KEYS};
use super::{Tx, progress};
use crate::domain::error::Result;
use crate::domain::ids::SessionId;
use crate::domain::session::SessionState;
use crate::domain::time::{Timestamp, now};
use crate::domain::write::{LinkChange, Outcome};
use crate::infra::store::batch::life::{self, Before, DELETED, Life};
use crate::infra::store::batch::progress::{Ended, fail};
use crate::infra::store::sqlite::statement::{execute, row, rows};

const LOAD: &str = "select state, code, pn, lid, connected_at from sessions where id = ?";
const SAVE: &str = "update sessions set state = ?2, reason = ?3, pn = coalesce(?4, pn), lid = coalesce(?5, lid), \
    linked_at = iif(?4 is null or ?4 is pn, linked_at, ?11), push_name = coalesce(?6, push_name), code = ?7, code_expires_at = ?8, connected_at = ?9, \
    updated_at = iif(?10, ?11, updated_at) where id = ?1";
const TRANSITION: &str = "insert into session_transitions (session_id, n, tenant_id, from_state, to_state, reason, at) \
    select ?1, coalesce(max(n), 0) + 1, ?2, ?3, ?4, ?5, ?6 from session_transitions where session_id = ?1";
const FORGET_TRANSITIONS: &str = "delete from session_transitions where session_id = ?1 \
    and n <= (select max(n) from session_transitions where session_id = ?1) - 50";
pub(super) const OPEN: &str = "select k.id, m.id, m.wa_id, c.jid, m.peer, m.state from commands k \
    left join session_messages m on m.id = k.message_id left join session_chats c on c.id = m.chat_id \
    where k.session_id = ? and k.state in ('queued', 'taken') order by k.seq";
/// The command that asked for the end has reached its aim.
const END_COMMANDS: &str = "update commands set \
    state = case when kind = 'session.delete' and state = 'taken' then 'done' else 'failed' end, updated_at = ?2 \
    where session_id = ?1 and state in ('queued', 'taken')";
const DELETE: &str = "update sessions set deleted_at = ?2, updated_at = ?2, state = 'stopped', reason = 'deleted', \
    code = null, code_expires_at = null where id = ?1";

/// Applies changes in the order they came.
pub(super) fn life(tx: &mut Tx<'_>, items: &[(usize, Life<'_>)]) -> Result<()> {
    for (place, change) in items {
        let answer = match change {
            Life::Link(link) => match tx.batch.owned(link.fence, link.session) {
                Ok(()) => linked(tx, link).map(Ok)?,
                Err(refusal) => Err(refusal),
            },
            Life::Delete(fence, session) => match life::may_delete(&tx.batch, *fence, *session) {
                Ok(true) => delete(tx, *session).map(Ok)?,
                Ok(false) => Ok(()),
                Err(refusal) => Err(refusal),
            },
        };
        tx.batch.answer(*place, answer.map(|()| Outcome::Done));
    }
    Ok(())
}

fn linked(tx: &mut Tx<'_>, link: &LinkChange) -> Result<()> {
    let found = row(tx.conn, LOAD, |cells| {
        cells.id(link.session.0);
    })?;
    let Some(found) = found else { return Ok(()) };
    let before = Before::read(&found, 0)?;
    let moved = before.moves(link);
    let text = |address: &Option<crate::domain::Address>| address.as_ref().map(ToString::to_string);
    execute(tx.conn, SAVE, |cells| {
        cells.id(link.session.0).text(link.state.as_str()).text(&link.reason);
        cells.opt_text(text(&link.pn).as_deref()).opt_text(text(&link.lid).as_deref());
        cells.opt_text(link.push_name.as_deref());
        cells.opt_text(link.code.as_ref().map(|(code, _)| code.as_str()));
        cells.opt_int(link.code.as_ref().map(|(_, until)| until.0)).opt_int(before.connected_at(link));
        cells.int(i64::from(moved)).int(link.at.0);
    })?;
    if moved {
        transition(tx, link, before.state)?;
    }
    life::tell(&mut tx.batch, link, &before)
}

fn transition(tx: &mut Tx<'_>, link: &LinkChange, from: SessionState) -> Result<()> {
    let tenant = tx.batch.sessions.live(link.session)?.tenant;
    execute(tx.conn, TRANSITION, |cells| {
        cells.id(link.session.0).id(tenant.0).text(from.as_str()).text(link.state.as_str());
        cells.text(&link.reason).int(link.at.0);
    })?;
    execute(tx.conn, FORGET_TRANSITIONS, |cells| {
        cells.id(link.session.0);
    })
    .map(drop)
}

fn delete(tx: &mut Tx<'_>, session: SessionId) -> Result<()> {
    let at = now();
    let open = rows(tx.conn, OPEN, |cells| {
        cells.id(session.0);
    })?;
    let mut messages = Vec::new();
    for row in &open {
        messages.extend(life::outgoing(row, session)?);
    }
    // Its commands end below, with those that have no message.
    let mut ended = Ended::default();
    fail(&mut tx.batch, &mut messages, (DELETED.0, DELETED.1, at), &mut ended)?;
    progress::save(tx.conn, messages.iter())?;
    execute(tx.conn, END_COMMANDS, |cells| {
        cells.id(session.0).int(at.0);
    })?;
    life::deleted(&mut tx.batch, session, at)?;
    forget(tx, session, at)
}

fn forget(tx: &mut Tx<'_>, session: SessionId, at: Timestamp) -> Result<()> {
    execute(tx.conn, DELETE, |cells| {
        cells.id(session.0).int(at.0);
    })?;
    for wipe in [WIPE_CREDS, WIPE_KEYS] {
        execute(tx.conn, wipe, |cells| {
            cells.id(session.0);
        })?;
    }
    Ok(())
}
