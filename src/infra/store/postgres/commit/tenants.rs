//! Tenants as rows. Whoever makes something for a tenant, or changes its people, holds its row: so limits hold however
//! many nodes there are, and its events are in the order of their `seq`.

use super::Tx;
use crate::domain::error::Result;
use crate::domain::ids::TenantId;
use crate::domain::time::Timestamp;
use crate::domain::write::people::{AddKey, SaveTenant};
use crate::domain::write::{CreateSession, Outcome};
use crate::infra::store::batch::Item;
use crate::infra::store::batch::tenants::Standing;
use crate::infra::store::columns::Columns;
use crate::infra::store::postgres::sql::{Cells, execute, rows};

const MAKE: &str = "insert into tenants (id, created_at) select * from unnest($1::uuid[], $2::bigint[]) order by 1 \
    on conflict do nothing";
const LOCK: &str = "select id, next_event_seq, (suspended_at is not null)::int from tenants where id = any($1) \
    order by id for update";
const MAKE_NAMED: &str =
    "insert into tenants (id, created_at, name) values ($1, $2, $3) on conflict do nothing";
const COUNT: &str = "update tenants t set next_event_seq = v.next from unnest($1::uuid[], $2::bigint[]) v(id, next) \
    where t.id = v.id";
const SAVE: &str = "update tenants set name = coalesce($2, name), suspended_at = case when $3 = 0 then null \
    when $3 = 1 then coalesce(suspended_at, $4) else suspended_at end where id = $1";

/// Makes the tenants something is made for, and locks them and those whose people are changed.
pub(super) async fn lock(
    tx: &mut Tx<'_>,
    keys: &[Item<'_, AddKey>],
    creates: &[Item<'_, CreateSession>],
    changed: &[TenantId],
) -> Result<()> {
    let keys = keys.iter().map(|(_, key)| (key.tenant, key.at));
    let creates = creates.iter().map(|(_, create)| (create.tenant, create.at));
    let mut made: Vec<(TenantId, Timestamp)> = keys.chain(creates).collect();
    made.sort_unstable();
    made.dedup_by_key(|(tenant, _)| *tenant);
    if !made.is_empty() {
        let cells =
            Cells::new().ids(made.iter().map(|(tenant, _)| tenant.0)).ints(made.iter().map(|(_, at)| at.0));
        execute(tx.conn, MAKE, cells).await?;
    }
    let mut all: Vec<TenantId> =
        made.iter().map(|(tenant, _)| *tenant).chain(changed.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    load(tx, &all).await
}

/// Locks and reads tenants.
pub(super) async fn load(tx: &mut Tx<'_>, ids: &[TenantId]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    for row in rows(tx.conn, LOCK, Cells::new().ids(ids.iter().map(|id| id.0))).await? {
        let standing = Standing { next_event: row.int(1)?, suspended: row.int(2)? != 0, changed: false };
        tx.batch.tenants.know(TenantId(row.id(0)?), standing);
    }
    Ok(())
}

/// Makes a tenant for somebody, unless it is there.
pub(super) async fn make(tx: &mut Tx<'_>, tenant: TenantId, name: &str, at: Timestamp) -> Result<()> {
    if tx.batch.tenants.get(tenant).is_ok() {
        return Ok(());
    }
    execute(tx.conn, MAKE_NAMED, Cells::new().id(tenant.0).int(at.0).text(name)).await?;
    load(tx, &[tenant]).await
}

/// Names, suspends or reinstates a tenant.
pub(super) async fn save(tx: &mut Tx<'_>, save: &SaveTenant) -> Result<Result<Outcome>> {
    if let Err(refusal) = tx.batch.tenants.get(save.tenant) {
        return Ok(Err(refusal));
    }
    let cells = Cells::new().id(save.tenant.0).opt_text(save.name.as_deref());
    let cells = cells.opt_int(save.suspended.map(i64::from)).int(save.at.0);
    execute(tx.conn, SAVE, cells).await?;
    if let Some(suspended) = save.suspended {
        tx.batch.tenants.suspend(save.tenant, suspended);
    }
    tx.batch.note(save.audit.as_deref());
    Ok(Ok(Outcome::Done))
}

/// Writes what was counted.
pub(super) async fn flush(tx: &mut Tx<'_>) -> Result<()> {
    let changed = tx.batch.tenants.changed();
    if changed.is_empty() {
        return Ok(());
    }
    let cells =
        Cells::new().ids(changed.iter().map(|(id, _)| id.0)).ints(changed.iter().map(|(_, next)| *next));
    execute(tx.conn, COUNT, cells).await.map(drop)
}
