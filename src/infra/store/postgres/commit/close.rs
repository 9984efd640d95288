//! What ends a batch, in one statement: the counters of the sessions it touched, how far the logs are that it numbered,
//! and its events. Those without a position wait in the outbox.

use super::Tx;
use crate::domain::error::Result;
use crate::infra::store::batch::outbox::Row;
use crate::infra::store::columns::log_number;
use crate::infra::store::postgres::sql::{Cells, execute};

const CLOSE: &str = "with counted as (update sessions s set next_event_seq = v.event_seq, \
        next_command_seq = v.command_seq, queued = v.queued \
        from unnest($13::uuid[], $14::bigint[], $15::bigint[], $16::bigint[]) v(id, event_seq, command_seq, queued) \
        where s.id = v.id), \
    advanced as (update relays r set head = v.head, stamped_at = v.stamped_at \
        from unnest($17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[]) v(shard, log, head, stamped_at) \
        where r.shard = v.shard and r.log = v.log) \
    insert into events (event_id, tenant_id, shard, log, session_id, seq, type, version, occurred_at, data, position, \
        stored_at) select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::uuid[], $6::bigint[], \
        $7::text[], $8::bigint[], $9::bigint[], $10::text[], $11::bigint[], $12::bigint[])";
/// In the order they happened: ids are given in it.
const WAITING: &str = "insert into outbox (event_id, tenant_id, shard, log, session_id, seq, type, version, \
    occurred_at, data) select event_id, tenant_id, shard, log, session_id, seq, type, version, occurred_at, data \
    from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::uuid[], $6::bigint[], $7::text[], $8::bigint[], \
    $9::bigint[], $10::text[]) with ordinality v(event_id, tenant_id, shard, log, session_id, seq, type, version, \
    occurred_at, data, n) order by n";

/// Writes them.
pub(super) async fn close(tx: &mut Tx<'_>) -> Result<()> {
    let (numbered, waiting): (Vec<Row>, Vec<Row>) =
        tx.batch.outbox.rows().into_iter().partition(|row| row.position().is_some());
    let sessions = tx.batch.sessions.changed();
    let heads: Vec<_> = tx.heads.iter().filter(|(_, head)| head.changed).collect();
    // Whatever is numbered moves a head.
    if !sessions.is_empty() || !heads.is_empty() {
        let stored_at = |row: &Row| tx.heads.get(&(row.shard, row.log)).map_or(0, |head| head.stamped_at);
        let cells = cells(&numbered)
            .ints(numbered.iter().map(|row| row.event.position.0))
            .ints(numbered.iter().map(stored_at))
            .ids(sessions.iter().map(|(id, _)| id.0))
            .ints(sessions.iter().map(|(_, row)| row.next_event))
            .ints(sessions.iter().map(|(_, row)| row.next_command))
            .ints(sessions.iter().map(|(_, row)| row.queued))
            .ints(heads.iter().map(|((shard, _), _)| i64::from(shard.0)))
            .ints(heads.iter().map(|((_, log), _)| log_number(*log)))
            .ints(heads.iter().map(|(_, head)| head.head))
            .ints(heads.iter().map(|(_, head)| head.stamped_at));
        execute(tx.conn, CLOSE, cells).await?;
    }
    if !waiting.is_empty() {
        execute(tx.conn, WAITING, cells(&waiting)).await?;
    }
    Ok(())
}

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
