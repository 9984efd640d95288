//! The life of a session: its state, its identity, its end.

use serde_json::json;

use super::Tx;
use super::auth::{WIPE_CREDS, WIPE_KEYS};
use super::progress::{self, Ended, Outgoing};
use crate::domain::error::Result;
use crate::domain::event::EventType;
use crate::domain::ids::{CommandId, Fence, MessageId, SessionId, WaId};
use crate::domain::message::MessageState;
use crate::domain::session::SessionState;
use crate::domain::time::{Timestamp, now};
use crate::domain::write::{LinkChange, MessageNews, Outcome};
use crate::infra::store::sqlite::sql::Columns;
use crate::infra::store::sqlite::statement::{Row, execute, row, rows};

const LOAD: &str = "select state, code, pn, lid, connected_at from sessions where id = ?";
const SAVE: &str = "update sessions set state = ?2, reason = ?3, pn = coalesce(?4, pn), lid = coalesce(?5, lid), \
    push_name = coalesce(?6, push_name), code = ?7, code_expires_at = ?8, connected_at = ?9, \
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

/// One change of a session's life.
pub(super) enum Life<'w> {
    Link(&'w LinkChange),
    Delete(Fence, SessionId),
}

/// Applies changes in the order they came.
pub(super) fn life(tx: &mut Tx<'_>, items: &[(usize, Life<'_>)]) -> Result<()> {
    for (place, change) in items {
        let answer = match change {
            Life::Link(link) => match tx.owned(link.fence, link.session) {
                Ok(()) => linked(tx, link).map(Ok)?,
                Err(refusal) => Err(refusal),
            },
            Life::Delete(fence, session) => match tx.leases.check(*fence) {
                Ok(()) if tx.sessions.get(*session).is_some_and(|row| row.deleted) => Ok(()),
                Ok(()) => match tx.owned(*fence, *session) {
                    Ok(()) => delete(tx, *session).map(Ok)?,
                    Err(refusal) => Err(refusal),
                },
                Err(refusal) => Err(refusal),
            },
        };
        tx.answer(*place, answer.map(|()| Outcome::Done));
    }
    Ok(())
}

struct Before {
    state: SessionState,
    code: Option<String>,
    pn: Option<String>,
    lid: Option<String>,
    connected_at: Option<i64>,
}

fn linked(tx: &mut Tx<'_>, link: &LinkChange) -> Result<()> {
    let found = row(tx.conn, LOAD, |cells| {
        cells.id(link.session.0);
    })?;
    let Some(found) = found else { return Ok(()) };
    let before = Before {
        state: found.parsed(0)?,
        code: found.opt_text(1)?,
        pn: found.opt_text(2)?,
        lid: found.opt_text(3)?,
        connected_at: found.opt_int(4)?,
    };
    let moved = before.state != link.state;
    let connected = moved && link.state == SessionState::Connected;
    let connected_at = if connected { Some(link.at.0) } else { before.connected_at };
    let text = |address: &Option<crate::domain::Address>| address.as_ref().map(ToString::to_string);
    execute(tx.conn, SAVE, |cells| {
        cells.id(link.session.0).text(link.state.as_str()).text(&link.reason);
        cells.opt_text(text(&link.pn).as_deref()).opt_text(text(&link.lid).as_deref());
        cells.opt_text(link.push_name.as_deref());
        cells.opt_text(link.code.as_ref().map(|(code, _)| code.as_str()));
        cells.opt_int(link.code.as_ref().map(|(_, until)| until.0)).opt_int(connected_at);
        cells.int(i64::from(moved)).int(link.at.0);
    })?;
    if moved {
        transition(tx, link, before.state)?;
        tell_state(tx, link, &before)?;
    }
    tell_code(tx, link, &before)
}

fn transition(tx: &mut Tx<'_>, link: &LinkChange, from: SessionState) -> Result<()> {
    let tenant = tx.sessions.live(link.session)?.tenant;
    execute(tx.conn, TRANSITION, |cells| {
        cells.id(link.session.0).id(tenant.0).text(from.as_str()).text(link.state.as_str());
        cells.text(&link.reason).int(link.at.0);
    })?;
    execute(tx.conn, FORGET_TRANSITIONS, |cells| {
        cells.id(link.session.0);
    })
    .map(drop)
}

fn tell_state(tx: &mut Tx<'_>, link: &LinkChange, before: &Before) -> Result<()> {
    let (id, at) = (link.session, link.at);
    let data = json!({"from": before.state, "to": link.state, "reason": link.reason});
    tx.emit(id, EventType::SessionStatusChanged, at, &data)?;
    if before.state == SessionState::Connected {
        let data = json!({"reason": link.reason, "disconnectedAt": at});
        tx.emit(id, EventType::SessionDisconnected, at, &data)?;
    }
    if link.state == SessionState::Connected {
        let pn = link.pn.as_ref().map(ToString::to_string).or_else(|| before.pn.clone());
        let lid = link.lid.as_ref().map(ToString::to_string).or_else(|| before.lid.clone());
        let data = json!({"pn": pn, "lid": lid, "connectedAt": at});
        tx.emit(id, EventType::SessionConnected, at, &data)?;
    }
    if link.state == SessionState::Failed {
        let message = format!("the session failed: {}", link.reason);
        tx.emit(id, EventType::SessionError, at, &json!({"code": link.reason, "message": message}))?;
    }
    Ok(())
}

fn tell_code(tx: &mut Tx<'_>, link: &LinkChange, before: &Before) -> Result<()> {
    let Some((code, until)) = &link.code else { return Ok(()) };
    if before.state == link.state && before.code.as_ref() == Some(code) {
        return Ok(());
    }
    match link.state {
        SessionState::PendingQr => {
            let data = json!({"qr": code, "expiresAt": until});
            tx.emit(link.session, EventType::SessionQrUpdated, link.at, &data)
        }
        SessionState::PairingCode => {
            let data = json!({"pairingCode": code, "expiresAt": until});
            tx.emit(link.session, EventType::SessionPairingCodeUpdated, link.at, &data)
        }
        SessionState::Created
        | SessionState::Starting
        | SessionState::PasskeyRequired
        | SessionState::Connected
        | SessionState::Reconnecting
        | SessionState::Stopped
        | SessionState::LoggedOut
        | SessionState::Failed => Ok(()),
    }
}

fn delete(tx: &mut Tx<'_>, session: SessionId) -> Result<()> {
    let at = now();
    let open = rows(tx.conn, OPEN, |cells| {
        cells.id(session.0);
    })?;
    let mut messages = Vec::new();
    for row in &open {
        messages.extend(outgoing(row, session)?);
    }
    let mut ended = Ended::default();
    for message in &mut messages {
        let news = MessageNews {
            wa_id: WaId(message.wa_id.clone()),
            state: MessageState::Failed,
            failure: Some(("session_deleted".to_owned(), "the session was deleted".to_owned())),
            at,
        };
        progress::advance(tx, message, &news, &mut ended)?;
    }
    progress::save(tx.conn, messages.iter())?;
    execute(tx.conn, END_COMMANDS, |cells| {
        cells.id(session.0).int(at.0);
    })?;
    tx.emit(session, EventType::SessionDeleted, at, &json!({"sessionId": session, "deletedAt": at}))?;
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
    let counters = tx.sessions.change(session)?;
    counters.queued = 0;
    counters.deleted = true;
    Ok(())
}

fn outgoing(row: &Row, session: SessionId) -> Result<Option<Outgoing>> {
    let Some(id) = row.opt_id(1)? else { return Ok(None) };
    let mut message = Outgoing::new(session, MessageId(id), progress::state(row.int(5)?)?);
    message.wa_id = row.text(2)?.to_owned();
    message.chat = row.text(3)?.to_owned();
    message.peer = row.text(4)?.to_owned();
    message.command = Some(CommandId(row.id(0)?));
    Ok(Some(message))
}
