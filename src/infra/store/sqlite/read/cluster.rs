//! Nodes, leases and settled facts.

use sqlx::sqlite::SqlitePool;

use crate::domain::cluster::{Cluster, LeaseView, NodeView};
use crate::domain::error::Result;
use crate::domain::ids::{Epoch, Shard};
use crate::domain::time::Timestamp;
use crate::infra::store::sqlite::sql::{Columns, failed, narrow, rows};

const NODES: &str = "select node, address, roles, version, started_at, seen_at from nodes order by node";
const LEASES: &str = "select shard, node, address, epoch, expires_at from leases order by shard";

/// Both tables as of one moment.
pub(in crate::infra::store::sqlite) async fn cluster(pool: &SqlitePool) -> Result<Cluster> {
    let mut tx = pool.begin().await.map_err(failed)?;
    let nodes = rows(&mut *tx, NODES, |_none| ()).await?;
    let leases = rows(&mut *tx, LEASES, |_none| ()).await?;
    let node = |row: &sqlx::sqlite::SqliteRow| -> Result<NodeView> {
        Ok(NodeView {
            node: row.text(0)?.to_owned(),
            address: row.text(1)?.to_owned(),
            roles: row.parsed(2)?,
            version: row.text(3)?.to_owned(),
            started_at: Timestamp(row.int(4)?),
            seen_at: Timestamp(row.int(5)?),
        })
    };
    let lease = |row: &sqlx::sqlite::SqliteRow| -> Result<LeaseView> {
        Ok(LeaseView {
            shard: Shard(narrow(row.int(0)?)?),
            node: row.opt_text(1)?,
            address: row.text(2)?.to_owned(),
            epoch: Epoch(row.int(3)?),
            expires_at: Timestamp(row.int(4)?),
        })
    };
    Ok(Cluster {
        nodes: nodes.iter().map(node).collect::<Result<_>>()?,
        leases: leases.iter().map(lease).collect::<Result<_>>()?,
    })
}
