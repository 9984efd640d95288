//! The audit log as rows, written with what it tells of.

use super::Tx;
use crate::domain::error::Result;
use crate::infra::store::postgres::sql::{Cells, execute};

const INSERT: &str = "insert into audit_log (id, tenant_id, at, actor_kind, actor_id, action, target_kind, target_id, \
    request_id, client, detail) select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::uuid[], \
    $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[])";

/// Writes what the batch noted.
pub(super) async fn flush(tx: &mut Tx<'_>) -> Result<()> {
    let noted = tx.batch.noted();
    if noted.is_empty() {
        return Ok(());
    }
    let entries = || noted.iter().map(|row| &row.entry);
    let targets = || entries().map(|entry| entry.target.as_ref());
    let cells = Cells::new()
        .ids(entries().map(|entry| entry.id.0))
        .ids(entries().map(|entry| entry.tenant.0))
        .ints(entries().map(|entry| entry.at.0))
        .texts(entries().map(|entry| entry.actor.kind.as_str()))
        .opt_ids(entries().map(|entry| entry.actor.id))
        .texts(entries().map(|entry| entry.action.as_str()))
        .opt_texts(targets().map(|target| target.map(|target| target.kind.as_str())))
        .opt_texts(targets().map(|target| target.map(|target| target.id.as_str())))
        .opt_texts(entries().map(|entry| entry.request_id.as_deref()))
        .opt_texts(entries().map(|entry| entry.client.as_deref()))
        .texts(noted.iter().map(|row| row.detail.as_str()));
    execute(tx.conn, INSERT, cells).await.map(drop)
}
