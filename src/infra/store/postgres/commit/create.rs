//! New sessions as rows.

use super::{Tx, accept};
use crate::domain::error::{Error, Result};
use crate::domain::ids::TenantId;
use crate::domain::session::SessionState;
use crate::domain::write::CreateSession;
use crate::infra::store::batch::Item;
use crate::infra::store::batch::accept::Buffers;
use crate::infra::store::batch::create::{self, Standing};
use crate::infra::store::columns::Columns;
use crate::infra::store::postgres::sql::{Cells, execute, rows};

const LIVE: &str = "select t.id, (select count(*) from sessions s where s.tenant_id = t.id and s.deleted_at is null) \
    from unnest($1::uuid[]) t(id)";
const NAMED: &str = "select s.tenant_id, s.name from unnest($1::uuid[], $2::text[]) v(tenant_id, name) join sessions s \
    on s.tenant_id = v.tenant_id and s.name = v.name and s.deleted_at is null and s.name is not null";
const SESSIONS: &str = "insert into sessions (id, tenant_id, shard, name, state, reason, endpoint, next_event_seq, \
    next_command_seq, queued, created_at, updated_at) select id, tenant_id, shard, name, $6, 'created', endpoint, 1, 1, \
    0, at, at from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $7::bigint[]) \
    v(id, tenant_id, shard, name, endpoint, at)";

/// Makes sessions.
pub(super) async fn sessions(tx: &mut Tx<'_>, items: &[Item<'_, CreateSession>]) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let standing = standing(tx, items).await?;
    let mut starts = Buffers::default();
    let made = create::sessions(&mut tx.batch, items, standing, &mut starts)?;
    if !made.is_empty() {
        insert(tx, &made).await?;
    }
    accept::flush(tx.conn, &starts).await
}

async fn standing(tx: &mut Tx<'_>, items: &[Item<'_, CreateSession>]) -> Result<Standing> {
    let mut standing = Standing::default();
    let mut tenants: Vec<_> = items.iter().map(|(_, create)| create.tenant.0).collect();
    tenants.sort_unstable();
    tenants.dedup();
    for row in rows(tx.conn, LIVE, Cells::new().ids(tenants.into_iter())).await? {
        standing.live.insert(TenantId(row.id(0)?), row.int(1)?);
    }
    let named = || items.iter().filter_map(|(_, create)| Some((create.tenant, create.name.as_deref()?)));
    if named().next().is_some() {
        let cells =
            Cells::new().ids(named().map(|(tenant, _)| tenant.0)).texts(named().map(|(_, name)| name));
        for row in rows(tx.conn, NAMED, cells).await? {
            standing.named.insert((TenantId(row.id(0)?), row.text(1)?.to_owned()));
        }
    }
    Ok(standing)
}

async fn insert(tx: &mut Tx<'_>, made: &[&CreateSession]) -> Result<()> {
    let endpoints = made.iter().map(|create| serde_json::to_string(&create.endpoint).map_err(Error::bug));
    let endpoints = endpoints.collect::<Result<Vec<_>>>()?;
    let cells = Cells::new()
        .ids(made.iter().map(|create| create.session.0))
        .ids(made.iter().map(|create| create.tenant.0))
        .ints(made.iter().map(|create| i64::from(create.shard.0)))
        .opt_texts(made.iter().map(|create| create.name.as_deref()))
        .texts(endpoints.iter().map(String::as_str))
        .text(SessionState::Created.as_str())
        .ints(made.iter().map(|create| create.at.0));
    execute(tx.conn, SESSIONS, cells).await.map(drop)
}
