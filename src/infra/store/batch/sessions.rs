//! The counters of the sessions a batch touches: read once, counted in memory, written once.

use std::collections::HashMap;

use crate::domain::error::{Error, Result};
use crate::domain::event::Log;
use crate::domain::ids::{SessionId, Shard, TenantId};

/// What every change of a session needs.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) tenant: TenantId,
    pub(crate) shard: Shard,
    /// The next `seq` on `domain-events`.
    pub(crate) next_event: i64,
    /// The next `seq` of a command, on `session-commands` too.
    pub(crate) next_command: i64,
    /// Commands accepted and not finished.
    pub(crate) queued: i64,
    pub(crate) deleted: bool,
    pub(crate) changed: bool,
}

/// The sessions a batch touches.
#[derive(Default)]
pub(crate) struct Sessions(HashMap<SessionId, Counters>);

impl Sessions {
    /// Those that are not yet here.
    pub(crate) fn missing(&self, ids: &[SessionId]) -> Vec<SessionId> {
        ids.iter().filter(|id| !self.0.contains_key(id)).copied().collect()
    }

    /// All that are here.
    pub(crate) fn ids(&self) -> Vec<SessionId> {
        self.0.keys().copied().collect()
    }

    /// A session as it is stored, or as it was just made.
    pub(crate) fn know(&mut self, session: SessionId, counters: Counters) {
        self.0.insert(session, counters);
    }

    pub(crate) fn get(&self, session: SessionId) -> Option<&Counters> {
        self.0.get(&session)
    }

    /// A session that is there and not deleted.
    pub(crate) fn live(&self, session: SessionId) -> Result<&Counters> {
        let row = self.0.get(&session).filter(|row| !row.deleted);
        row.ok_or_else(|| Error::not_found("session_not_found", "there is no such session"))
    }

    /// A session of this tenant; another tenant's is not found.
    pub(crate) fn of_tenant(&self, tenant: TenantId, session: SessionId) -> Result<&Counters> {
        let row = self.live(session).ok().filter(|row| row.tenant == tenant);
        row.ok_or_else(|| Error::not_found("session_not_found", "there is no such session"))
    }

    /// To change; the caller has judged that it may.
    pub(crate) fn change(&mut self, session: SessionId) -> Result<&mut Counters> {
        let row = self.0.get_mut(&session).ok_or_else(|| Error::bug("a session that was not read"))?;
        row.changed = true;
        Ok(row)
    }

    /// The next `seq` of a session's log.
    pub(crate) fn next_seq(&mut self, session: SessionId, log: Log) -> Result<i64> {
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
    pub(crate) fn finished(&mut self, session: SessionId) -> Result<()> {
        let row = self.change(session)?;
        row.queued = (row.queued - 1).max(0);
        Ok(())
    }

    /// What changed since the last time.
    pub(crate) fn changed(&mut self) -> Vec<(SessionId, Counters)> {
        let mut changed = Vec::new();
        for (id, row) in self.0.iter_mut().filter(|(_, row)| row.changed) {
            row.changed = false;
            changed.push((*id, row.clone()));
        }
        changed
    }
}
