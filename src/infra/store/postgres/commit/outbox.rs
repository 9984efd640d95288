//! Events as rows: numbered ones in `events`, the others in `outbox`.

use super::Tx;
use crate::domain::error::Result;
use crate::infra::store::batch::outbox::Row;
use crate::infra::store::columns::log_number;
use crate::infra::store::postgres::sql::{Cells, execute};

const NUMBERED: &str = "insert into events (event_id, tenant_id, shard, log, session_id, seq, type, version, \
    occurred_at, data, position, stored_at) select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], \
    $5::uuid[], $6::bigint[], $7::text[], $8::bigint[], $9::bigint[], $10::text[], $11::bigint[], $12::bigint[])";
/// In the order they happened: ids are given in it.
const WAITING: &str = "insert into outbox (event_id, tenant_id, shard, log, session_id, seq, type, version, \
    occurred_at, data) select event_id, tenant_id, shard, log, session_id, seq, type, version, occurred_at, data \
    from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::uuid[], $6::bigint[], $7::text[], $8::bigint[], \
    $9::bigint[], $10::text[]) with ordinality v(event_id, tenant_id, shard, log, session_id, seq, type, version, \
    occurred_at, data, n) order by n";

fn cells(rows: &[Row]) -> Cells {
    Cells::new()
        .ids(rows.iter().map(|row| row.event.event_id.0))
        .ids(rows.iter().map(|row| row.event.tenant_id.0))
        .ints(rows.iter().map(|row| i64::from(row.shard.0)))
        .ints(rows.iter().map(|row| log_number(row.log)))
        .ids(rows.iter().map(|row| row.event.subject().0))
        .ints(rows.iter().map(|row| row.event.seq))
        .texts(rows.iter().map(|row| row.event.kind.as_str()))
        .ints(rows.iter().map(|row| i64::from(row.event.version)))
        .ints(rows.iter().map(|row| row.event.occurred_at.0))
        .texts(rows.iter().map(|row| row.event.data.as_str()))
}

/// Writes what happened in the batch; `stored_at` tells when a shard's rows were numbered.
pub(super) async fn flush(tx: &mut Tx<'_>, stored_at: impl Fn(&Row) -> i64) -> Result<()> {
    let rows = tx.batch.outbox.rows();
    let (numbered, waiting): (Vec<Row>, Vec<Row>) =
        rows.into_iter().partition(|row| row.position().is_some());
    if !numbered.is_empty() {
        let cells = cells(&numbered)
            .ints(numbered.iter().map(|row| row.event.position.0))
            .ints(numbered.iter().map(stored_at));
        execute(tx.conn, NUMBERED, cells).await?;
    }
    if !waiting.is_empty() {
        execute(tx.conn, WAITING, cells(&waiting)).await?;
    }
    Ok(())
}
