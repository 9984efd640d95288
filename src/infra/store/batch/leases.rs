//! Who owns the shards a batch speaks of: the epochs in force, and who may take a lease.

use std::collections::HashMap;

use crate::domain::error::{Error, Result};
use crate::domain::ids::{Epoch, Fence, Shard};
use crate::domain::write::TakeLease;

/// The epochs in force for the shards of a batch.
#[derive(Default)]
pub(crate) struct Leases(HashMap<Shard, Epoch>);

impl Leases {
    /// A shard has an owner.
    pub(crate) fn hold(&mut self, shard: Shard, epoch: Epoch) {
        self.0.insert(shard, epoch);
    }

    /// A shard has none any more.
    pub(crate) fn release(&mut self, shard: Shard) {
        self.0.remove(&shard);
    }

    /// Refuses a writer that lost the shard.
    pub(crate) fn check(&self, fence: Fence) -> Result<()> {
        if self.0.get(&fence.shard) == Some(&fence.epoch) { Ok(()) } else { Err(Error::fenced()) }
    }
}

/// A lease as it is stored.
#[derive(Default)]
pub(crate) struct Lease<'r> {
    pub(crate) node: Option<&'r str>,
    pub(crate) epoch: i64,
    pub(crate) expires_at: i64,
}

impl Lease<'_> {
    /// The epoch that whoever asks has from now on; `None` when another node holds the shard.
    pub(crate) fn won_by(&self, wanted: &TakeLease) -> Option<i64> {
        let mine = self.node == Some(wanted.node.as_str());
        match wanted.held {
            // An owner that was late but not replaced goes on.
            Some(held) if mine && held.0 == self.epoch => Some(self.epoch),
            Some(_lost) => None,
            // The same process asking anew has restarted its owner: the earlier one must be fenced.
            None if self.node.is_none() || mine || self.expires_at <= wanted.at.0 => Some(self.epoch + 1),
            None => None,
        }
    }
}
