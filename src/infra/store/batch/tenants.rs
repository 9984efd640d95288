//! The tenants a batch changes people of: their counters, read once, counted in memory, written once.

use std::collections::HashMap;

use crate::domain::error::{Error, Result};
use crate::domain::ids::TenantId;

/// What every change of a tenant's people needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// The next `seq` of its own events.
    pub(crate) next_event: i64,
    pub(crate) suspended: bool,
    pub(crate) changed: bool,
}

/// The tenants a batch names.
#[derive(Default)]
pub(crate) struct Tenants(HashMap<TenantId, Standing>);

impl Tenants {
    /// A tenant as it is stored, or as it was just made.
    pub(crate) fn know(&mut self, tenant: TenantId, standing: Standing) {
        self.0.insert(tenant, standing);
    }

    /// Those that are not yet here.
    pub(crate) fn missing(&self, ids: &[TenantId]) -> Vec<TenantId> {
        ids.iter().filter(|id| !self.0.contains_key(id)).copied().collect()
    }

    /// A tenant that is there.
    pub(crate) fn get(&self, tenant: TenantId) -> Result<&Standing> {
        self.0.get(&tenant).ok_or_else(|| Error::not_found("tenant_not_found", "there is no such tenant"))
    }

    /// Whether it is suspended from now on.
    pub(crate) fn suspend(&mut self, tenant: TenantId, suspended: bool) {
        if let Some(standing) = self.0.get_mut(&tenant) {
            standing.suspended = suspended;
        }
    }

    /// The next `seq` of a tenant's own events.
    pub(crate) fn next_seq(&mut self, tenant: TenantId) -> Result<i64> {
        let row = self.0.get_mut(&tenant).ok_or_else(|| Error::bug("a tenant that was not read"))?;
        let seq = row.next_event;
        row.next_event += 1;
        row.changed = true;
        Ok(seq)
    }

    /// What was counted since the last time.
    pub(crate) fn changed(&mut self) -> Vec<(TenantId, i64)> {
        let mut changed = Vec::new();
        for (id, row) in self.0.iter_mut().filter(|(_, row)| row.changed) {
            row.changed = false;
            changed.push((*id, row.next_event));
        }
        changed.sort_unstable();
        changed
    }
}
