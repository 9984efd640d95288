//! New API keys and new sessions as rows. Whoever makes something for a tenant holds its row, so limits hold however
//! many nodes make sessions.

use super::{Tx, accept};
use crate::domain::error::{Error, Result};
use crate::domain::ids::TenantId;
use crate::domain::session::SessionState;
use crate::domain::time::Timestamp;
use crate::domain::write::{AddKey, CreateSession, Outcome};
use crate::infra::store::batch::Item;
use crate::infra::store::batch::accept::Buffers;
use crate::infra::store::batch::create::{self, Standing};
use crate::infra::store::columns::Columns;
use crate::infra::store::postgres::sql::{Cells, execute, rows};

const TENANTS: &str = "insert into tenants (id, created_at) select * from unnest($1::uuid[], $2::bigint[]) order by 1 \
    on conflict do nothing";
const LOCK: &str = "select id from tenants where id = any($1) order by id for update";
const KEY: &str = "insert into api_keys (id, tenant_id, hash, name, created_at) values ($1, $2, $3, $4, $5) \
    on conflict do nothing";
const LIVE: &str = "select t.id, (select count(*) from sessions s where s.tenant_id = t.id and s.deleted_at is null) \
    from unnest($1::uuid[]) t(id)";
const NAMED: &str = "select s.tenant_id, s.name from unnest($1::uuid[], $2::text[]) v(tenant_id, name) join sessions s \
    on s.tenant_id = v.tenant_id and s.name = v.name and s.deleted_at is null and s.name is not null";
const SESSIONS: &str = "insert into sessions (id, tenant_id, shard, name, state, reason, endpoint, next_event_seq, \
    next_command_seq, queued, created_at, updated_at) select id, tenant_id, shard, name, $6, 'created', endpoint, 1, 1, \
    0, at, at from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $7::bigint[]) \
    v(id, tenant_id, shard, name, endpoint, at)";

/// Makes and locks the tenants something is made for.
pub(super) async fn tenants(
    tx: &mut Tx<'_>,
    keys: &[Item<'_, AddKey>],
    creates: &[Item<'_, CreateSession>],
) -> Result<()> {
    let keys = keys.iter().map(|(_, key)| (key.tenant, key.at));
    let creates = creates.iter().map(|(_, create)| (create.tenant, create.at));
    let mut tenants: Vec<(TenantId, Timestamp)> = keys.chain(creates).collect();
    tenants.sort_unstable();
    tenants.dedup_by_key(|(tenant, _)| *tenant);
    if tenants.is_empty() {
        return Ok(());
    }
    let ids = || tenants.iter().map(|(tenant, _)| tenant.0);
    let cells = Cells::new().ids(ids()).ints(tenants.iter().map(|(_, at)| at.0));
    execute(tx.conn, TENANTS, cells).await?;
    rows(tx.conn, LOCK, Cells::new().ids(ids())).await.map(drop)
}

/// Stores API keys.
pub(super) async fn keys(tx: &mut Tx<'_>, items: &[Item<'_, AddKey>]) -> Result<()> {
    for &(place, key) in items {
        let cells = Cells::new().id(key.id.0).id(key.tenant.0).blob(&key.hash).text(&key.name).int(key.at.0);
        let added = execute(tx.conn, KEY, cells).await?;
        let taken = || Err(Error::conflict("key_exists", "this API key is stored already"));
        tx.batch.answer(place, if added == 1 { Ok(Outcome::Done) } else { taken() });
    }
    Ok(())
}

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
