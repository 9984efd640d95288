//! What nodes say of themselves and agree on.

use crate::domain::cluster::{LeaseView, NodeView};
use crate::domain::error::Result;
use crate::domain::ids::{Epoch, Shard};
use crate::domain::time::Timestamp;
use crate::infra::store::columns::{Columns, narrow};

/// What a node says.
pub(crate) enum Word<'w> {
    Here(&'w NodeView),
    Gone(&'w str),
    Settle(&'w str, &'w str),
}

/// A row of `nodes`: its columns in their order.
pub(crate) fn node(row: &impl Columns) -> Result<NodeView> {
    Ok(NodeView {
        node: row.text(0)?.to_owned(),
        address: row.text(1)?.to_owned(),
        roles: row.parsed(2)?,
        version: row.text(3)?.to_owned(),
        started_at: Timestamp(row.int(4)?),
        seen_at: Timestamp(row.int(5)?),
    })
}

/// A row of `leases`: its columns in their order.
pub(crate) fn lease(row: &impl Columns) -> Result<LeaseView> {
    Ok(LeaseView {
        shard: Shard(narrow(row.int(0)?)?),
        node: row.opt_text(1)?,
        address: row.text(2)?.to_owned(),
        epoch: Epoch(row.int(3)?),
        expires_at: Timestamp(row.int(4)?),
    })
}
