//! Sessions and what became of them.

use sqlx::sqlite::SqlitePool;

use crate::domain::error::Result;
use crate::domain::ids::{SessionId, Shard, TenantId};
use crate::domain::time::Timestamp;
use crate::domain::view::{Page, PageRequest, SessionView, Transition};
use crate::infra::store::columns::{Columns, limit};
use crate::infra::store::paging::{cut, id_mark, wanted};
use crate::infra::store::sqlite::sql::{row, rows};
use crate::infra::store::views;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, tenant_id, name, state, reason, pn, lid, push_name, endpoint, queued, created_at, updated_at, \
             connected_at, shard, code, code_expires_at from sessions where deleted_at is null and ",
            $rest
        )
    };
}

const ONE: &str = select!("id = ?");
const LIST: &str =
    select!("tenant_id = ?1 and id > ?2 and (?4 is null or instr(?4, hex(id)) > 0) order by id limit ?3");
// The conditions on commands are their indexes' own, word for word: SQLite sees by them that the indexes apply.
/// The states in which a session wants a link, or something to do that needs none.
pub(in crate::infra::store::sqlite) const TO_RUN: &str = "select s.id from sessions s \
    where s.deleted_at is null and s.shard = ? and s.id > ? \
    and (s.state not in ('created', 'stopped', 'logged_out', 'failed') or (s.queued > 0 and exists ( \
        select 1 from commands c where c.session_id = s.id and c.state in ('queued', 'taken') \
        and c.kind <> 'session.sendMessage'))) order by s.id limit ?";
/// Of either kind the first that is queued is the oldest. A session that is paced has forgotten nothing.
pub(in crate::infra::store::sqlite) const BEHIND: &str = "select s.id from sessions s \
    where s.deleted_at is null and s.shard = ?1 and s.queued > 0 \
    and ((select c.created_at from commands c where c.session_id = s.id and c.state in ('queued', 'taken') \
        and c.kind <> 'session.sendMessage' and c.state = 'queued' order by c.seq limit 1) < ?2 \
    or (s.state = 'connected' and coalesce(s.paced_until, 0) < ?2 and (select c.created_at from commands c where c.session_id = s.id \
        and c.state in ('queued', 'taken') and c.state = 'queued' order by c.seq limit 1) < ?2)) \
    order by s.id limit ?3";
const TIMELINE: &str = "select from_state, to_state, reason, at from session_transitions \
    where session_id = ? and tenant_id = ? order by n desc limit 50";

/// One session, whoever's it is.
pub(in crate::infra::store::sqlite) async fn one(
    pool: &SqlitePool,
    id: SessionId,
) -> Result<Option<SessionView>> {
    let found = row(pool, ONE, |cells| {
        cells.id(id.0);
    })
    .await?;
    found.as_ref().map(views::session).transpose()
}

/// Sessions of a tenant, oldest first.
pub(in crate::infra::store::sqlite) async fn list(
    pool: &SqlitePool,
    tenant: TenantId,
    page: &PageRequest,
) -> Result<Page<SessionView>> {
    let after = id_mark(page)?.unwrap_or_default();
    let found = rows(pool, LIST, |cells| {
        cells.id(tenant.0).id(after).int(wanted(page)).among(page.among.as_deref());
    })
    .await?;
    let views = found.iter().map(views::session).collect::<Result<Vec<_>>>()?;
    Ok(cut(views, page, |view| view.session_id.to_string()))
}

/// Sessions of a shard that need an actor.
pub(in crate::infra::store::sqlite) async fn to_run(
    pool: &SqlitePool,
    shard: Shard,
    after: Option<SessionId>,
    most: usize,
) -> Result<Vec<SessionId>> {
    let found = rows(pool, TO_RUN, |cells| {
        cells.int(i64::from(shard.0)).id(after.map(|id| id.0).unwrap_or_default()).int(limit(most));
    })
    .await?;
    found.iter().map(|row| Ok(SessionId(row.id(0)?))).collect()
}

/// Sessions with work that waits since before `before` although nothing keeps it.
pub(in crate::infra::store::sqlite) async fn behind(
    pool: &SqlitePool,
    shard: Shard,
    before: Timestamp,
    most: usize,
) -> Result<Vec<SessionId>> {
    let found = rows(pool, BEHIND, |cells| {
        cells.int(i64::from(shard.0)).int(before.0).int(limit(most));
    })
    .await?;
    found.iter().map(|row| Ok(SessionId(row.id(0)?))).collect()
}

/// The last transitions, newest first.
pub(in crate::infra::store::sqlite) async fn timeline(
    pool: &SqlitePool,
    tenant: TenantId,
    session: SessionId,
) -> Result<Vec<Transition>> {
    let found = rows(pool, TIMELINE, |cells| {
        cells.id(session.0).id(tenant.0);
    })
    .await?;
    found.iter().map(views::transition).collect()
}
