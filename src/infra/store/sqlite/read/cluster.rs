//! Nodes, leases and settled facts.

use sqlx::sqlite::SqlitePool;

use crate::domain::cluster::Cluster;
use crate::domain::error::Result;
use crate::infra::store::batch::nodes;
use crate::infra::store::sqlite::sql::{failed, rows};

const NODES: &str = "select node, address, roles, version, started_at, seen_at from nodes order by node";
const LEASES: &str = "select shard, node, address, epoch, expires_at from leases order by shard";

/// Both tables as of one moment.
pub(in crate::infra::store::sqlite) async fn cluster(pool: &SqlitePool) -> Result<Cluster> {
    let mut tx = pool.begin().await.map_err(failed)?;
    let found = rows(&mut *tx, NODES, |_none| ()).await?;
    let leases = rows(&mut *tx, LEASES, |_none| ()).await?;
    Ok(Cluster {
        nodes: found.iter().map(nodes::node).collect::<Result<_>>()?,
        leases: leases.iter().map(nodes::lease).collect::<Result<_>>()?,
    })
}
