//! What consumer groups may change.

use super::Batch;
use crate::domain::error::Result;
use crate::domain::ids::{DeadLetterId, Fence};
use crate::domain::write::{DeliveryFailed, Handled, Redrive};

/// One change of a group's standing.
pub(crate) enum Change<'w> {
    Handled(&'w Handled),
    Failed(&'w DeliveryFailed),
    Bury(&'w DeliveryFailed),
    Redrive(&'w Redrive),
    Redriven(Fence, DeadLetterId),
}

impl Change<'_> {
    /// Whether the writer holds the shard, where it must.
    pub(crate) fn allowed(&self, batch: &Batch) -> Result<()> {
        match self {
            Change::Handled(handled) => batch.leases.check(handled.fence),
            Change::Failed(failed) | Change::Bury(failed) => batch.leases.check(failed.fence),
            Change::Redriven(fence, _) => batch.leases.check(*fence),
            Change::Redrive(_) => Ok(()),
        }
    }
}
