//! Nodes and leases.

use sqlx::postgres::PgConnection;

use crate::domain::cluster::Cluster;
use crate::domain::error::Result;
use crate::infra::store::batch::nodes;
use crate::infra::store::postgres::sql::{Cells, rows};

const NODES: &str = "select node, address, roles, version, started_at, seen_at from nodes order by node";
const LEASES: &str = "select shard, node, address, epoch, expires_at from leases order by shard";

/// Both tables. They need not be of one moment: nobody is taken for gone before it has stood still for long.
pub(in crate::infra::store::postgres) async fn cluster(conn: &mut PgConnection) -> Result<Cluster> {
    let (found, leases) = (rows(conn, NODES, Cells::new()).await?, rows(conn, LEASES, Cells::new()).await?);
    Ok(Cluster {
        nodes: found.iter().map(nodes::node).collect::<Result<_>>()?,
        leases: leases.iter().map(nodes::lease).collect::<Result<_>>()?,
    })
}
