//! The counters of the sessions a batch touches: read once, counted in memory, written once.

use std::collections::HashMap;

use rusqlite::Connection;

use crate::domain::error::{Error, Result};
use crate::domain::event::Log;
use crate::domain::ids::{SessionId, Shard, TenantId};
use crate::infra::store::sqlite::sql::{Columns, narrow};
use crate::infra::store::sqlite::statement::{each, fetch};

pub(super) const LOAD: &str = "select id, tenant_id, shard, next_event_seq, next_command_seq, queued, \
    deleted_at is not null from sessions where id = ?";
pub(super) const SAVE: &str =
    "update sessions set next_event_seq = ?2, next_command_seq = ?3, queued = ?4 where id = ?1";

/// What every change of a session needs.
#[derive(Clone, Debug)]
pub(super) struct Counters {
    pub(super) tenant: TenantId,
    pub(super) shard: Shard,
    /// The next `seq` on `domain-events`.
    pub(super) next_event: i64,
    /// The next `seq` of a command, on `session-commands` too.
    pub(super) next_command: i64,
    /// Commands accepted and not finished.
    pub(super) queued: i64,
    pub(super) deleted: bool,
    pub(super) changed: bool,
}

/// The sessions a batch touches.
#[derive(Default)]
pub(super) struct Sessions(HashMap<SessionId, Counters>);

impl Sessions {
    pub(super) fn load(conn: &Connection, ids: &[SessionId]) -> Result<Self> {
        let mut sessions = Self::default();
        sessions.add(conn, ids)?;
        Ok(sessions)
    }

    /// Reads those that are not yet here.
    pub(super) fn add(&mut self, conn: &Connection, ids: &[SessionId]) -> Result<()> {
        let missing: Vec<_> = ids.iter().filter(|id| !self.0.contains_key(id)).collect();
        let rows = fetch(conn, LOAD, &missing, |id, cells| {
            cells.id(id.0);
        });
        for row in rows? {
            let counters = Counters {
                tenant: TenantId(row.id(1)?),
                shard: Shard(narrow(row.int(2)?)?),
                next_event: row.int(3)?,
                next_command: row.int(4)?,
                queued: row.int(5)?,
                deleted: row.int(6)? != 0,
                changed: false,
            };
            self.0.insert(SessionId(row.id(0)?), counters);
        }
        Ok(())
    }

    pub(super) fn created(&mut self, session: SessionId, counters: Counters) {
        self.0.insert(session, counters);
    }

    pub(super) fn get(&self, session: SessionId) -> Option<&Counters> {
        self.0.get(&session)
    }

    /// A session that is there and not deleted.
    pub(super) fn live(&self, session: SessionId) -> Result<&Counters> {
        let row = self.0.get(&session).filter(|row| !row.deleted);
        row.ok_or_else(|| Error::not_found("session_not_found", "there is no such session"))
    }

    /// A session of this tenant; another tenant's is not found.
    pub(super) fn of_tenant(&self, tenant: TenantId, session: SessionId) -> Result<&Counters> {
        let row = self.live(session).ok().filter(|row| row.tenant == tenant);
        row.ok_or_else(|| Error::not_found("session_not_found", "there is no such session"))
    }

    /// To change; the caller has judged that it may.
    pub(super) fn change(&mut self, session: SessionId) -> Result<&mut Counters> {
        let row = self.0.get_mut(&session).ok_or_else(|| Error::bug("a session that was not read"))?;
        row.changed = true;
        Ok(row)
    }

    /// The next `seq` of a session's log.
    pub(super) fn next_seq(&mut self, session: SessionId, log: Log) -> Result<i64> {
        let row = self.change(session)?;
        let counter = match log {
            Log::DomainEvents => &mut row.next_event,
            Log::SessionCommands => &mut row.next_command,
        };
        let seq = *counter;
        *counter += 1;
        Ok(seq)
    }

    /// One command more is finished.
    pub(super) fn finished(&mut self, session: SessionId) -> Result<()> {
        let row = self.change(session)?;
        row.queued = (row.queued - 1).max(0);
        Ok(())
    }

    pub(super) fn flush(&mut self, conn: &Connection) -> Result<()> {
        let changed: Vec<_> = self.0.iter().filter(|(_, row)| row.changed).collect();
        each(conn, SAVE, &changed, |(id, row), cells| {
            cells.id(id.0).int(row.next_event).int(row.next_command).int(row.queued);
        })?;
        for row in self.0.values_mut() {
            row.changed = false;
        }
        Ok(())
    }
}
