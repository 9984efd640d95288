//! The life of a session: what a change of its state, identity or code means, and what its end does.

use serde_json::json;

use super::Batch;
use super::progress::{self, Outgoing};
use crate::domain::error::Result;
use crate::domain::event::EventType;
use crate::domain::ids::{CommandId, Fence, MessageId, SessionId};
use crate::domain::session::SessionState;
use crate::domain::time::Timestamp;
use crate::domain::write::LinkChange;
use crate::infra::store::columns::Columns;

/// One change of a session's life.
pub(crate) enum Life<'w> {
    Link(&'w LinkChange),
    Delete(Fence, SessionId),
}

/// Why the messages of a deleted session fail: code and sentence.
pub(crate) const DELETED: (&str, &str) = ("session_deleted", "the session was deleted");

/// What is stored of a session before a change.
pub(crate) struct Before {
    pub(crate) state: SessionState,
    pub(crate) code: Option<String>,
    pub(crate) pn: Option<String>,
    pub(crate) lid: Option<String>,
    pub(crate) connected_at: Option<i64>,
}

impl Before {
    /// From five columns, the first of which is at `first`.
    pub(crate) fn read(row: &impl Columns, first: usize) -> Result<Self> {
        Ok(Self {
            state: row.parsed(first)?,
            code: row.opt_text(first + 1)?,
            pn: row.opt_text(first + 2)?,
            lid: row.opt_text(first + 3)?,
            connected_at: row.opt_int(first + 4)?,
        })
    }

    /// Whether the change is one of state.
    pub(crate) fn moves(&self, link: &LinkChange) -> bool {
        self.state != link.state
    }

    /// When the session last logged in, once the change is made.
    pub(crate) fn connected_at(&self, link: &LinkChange) -> Option<i64> {
        let connected = self.moves(link) && link.state == SessionState::Connected;
        if connected { Some(link.at.0) } else { self.connected_at }
    }
}

/// Whether the writer may delete the session; `false` when it is deleted already.
pub(crate) fn may_delete(batch: &Batch, fence: Fence, session: SessionId) -> Result<bool> {
    batch.leases.check(fence)?;
    if batch.sessions.get(session).is_some_and(|row| row.deleted) {
        return Ok(false);
    }
    batch.owned(fence, session).map(|()| true)
}

/// The session is deleted from here on.
pub(crate) fn deleted(batch: &mut Batch, session: SessionId, at: Timestamp) -> Result<()> {
    let data = json!({"sessionId": session, "deletedAt": at});
    batch.emit(session, EventType::SessionDeleted, at, &data)?;
    let counters = batch.sessions.change(session)?;
    counters.queued = 0;
    counters.deleted = true;
    Ok(())
}

/// Tells of a change.
pub(crate) fn tell(batch: &mut Batch, link: &LinkChange, before: &Before) -> Result<()> {
    if before.moves(link) {
        tell_state(batch, link, before)?;
    }
    tell_code(batch, link, before)
}

fn tell_state(batch: &mut Batch, link: &LinkChange, before: &Before) -> Result<()> {
    let (id, at) = (link.session, link.at);
    let data = json!({"from": before.state, "to": link.state, "reason": link.reason});
    batch.emit(id, EventType::SessionStatusChanged, at, &data)?;
    if before.state == SessionState::Connected {
        let data = json!({"reason": link.reason, "disconnectedAt": at});
        batch.emit(id, EventType::SessionDisconnected, at, &data)?;
    }
    if link.state == SessionState::Connected {
        let pn = link.pn.as_ref().map(ToString::to_string).or_else(|| before.pn.clone());
        let lid = link.lid.as_ref().map(ToString::to_string).or_else(|| before.lid.clone());
        let data = json!({"pn": pn, "lid": lid, "connectedAt": at});
        batch.emit(id, EventType::SessionConnected, at, &data)?;
    }
    if link.state == SessionState::Failed {
        let message = format!("the session failed: {}", link.reason);
        batch.emit(id, EventType::SessionError, at, &json!({"code": link.reason, "message": message}))?;
    }
    Ok(())
}

fn tell_code(batch: &mut Batch, link: &LinkChange, before: &Before) -> Result<()> {
    let Some((code, until)) = &link.code else { return Ok(()) };
    if before.state == link.state && before.code.as_ref() == Some(code) {
        return Ok(());
    }
    match link.state {
        SessionState::PendingQr => {
            let data = json!({"qr": code, "expiresAt": until});
            batch.emit(link.session, EventType::SessionQrUpdated, link.at, &data)
        }
        SessionState::PairingCode => {
            let data = json!({"pairingCode": code, "expiresAt": until});
            batch.emit(link.session, EventType::SessionPairingCodeUpdated, link.at, &data)
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

/// A message of an unfinished command: command, id, WhatsApp's id, chat, peer and state.
pub(crate) fn outgoing(row: &impl Columns, session: SessionId) -> Result<Option<Outgoing>> {
    let Some(id) = row.opt_id(1)? else { return Ok(None) };
    let mut message = Outgoing::new(session, MessageId(id), progress::state(row.int(5)?)?);
    message.wa_id = row.text(2)?.to_owned();
    message.chat = row.text(3)?.to_owned();
    message.peer = row.text(4)?.to_owned();
    message.command = Some(CommandId(row.id(0)?));
    Ok(Some(message))
}
