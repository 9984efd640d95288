//! Sessions and what became of them.

use sqlx::postgres::PgConnection;

use crate::domain::error::Result;
use crate::domain::ids::{SessionId, Shard, TenantId};
use crate::domain::time::Timestamp;
use crate::domain::view::{Page, PageRequest, SessionView, Transition};
use crate::infra::store::columns::{Columns, limit};
use crate::infra::store::paging::{cut, id_mark, wanted};
use crate::infra::store::postgres::sql::{Cells, row, rows};
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

const ONE: &str = select!("id = $1");
const LIST: &str =
    select!("tenant_id = $1 and id > $2 and ($4 is null or id = any($4)) order by id limit $3");
// The conditions on commands are their indexes' own.
/// The states in which a session wants a link, or something to do that needs none.
const TO_RUN: &str = "select s.id from sessions s \
    where s.deleted_at is null and s.shard = $1 and s.id > $2 \
    and (s.state not in ('created', 'stopped', 'logged_out', 'failed') or (s.queued > 0 and exists ( \
        select 1 from commands c where c.session_id = s.id and c.state in ('queued', 'taken') \
        and c.kind <> 'session.sendMessage'))) order by s.id limit $3";
/// Of either kind the first that is queued is the oldest. A session that is paced has forgotten nothing.
const BEHIND: &str = "select s.id from sessions s \
    where s.deleted_at is null and s.shard = $1 and s.queued > 0 \
    and ((select c.created_at from commands c where c.session_id = s.id and c.state in ('queued', 'taken') \
        and c.kind <> 'session.sendMessage' and c.state = 'queued' order by c.seq limit 1) < $2 \
    or (s.state = 'connected' and coalesce(s.paced_until, 0) < $2 and (select c.created_at from commands c where c.session_id = s.id \
        and c.state in ('queued', 'taken') and c.state = 'queued' order by c.seq limit 1) < $2)) \
    order by s.id limit $3";
const TIMELINE: &str = "select from_state, to_state, reason, at from session_transitions \
    where session_id = $1 and tenant_id = $2 order by n desc limit 50";

/// One session, whoever's it is.
pub(in crate::infra::store::postgres) async fn one(
    conn: &mut PgConnection,
    id: SessionId,
) -> Result<Option<SessionView>> {
    let found = row(conn, ONE, Cells::new().id(id.0)).await?;
    found.as_ref().map(views::session).transpose()
}

/// Sessions of a tenant, oldest first.
pub(in crate::infra::store::postgres) async fn list(
    conn: &mut PgConnection,
    tenant: TenantId,
    page: &PageRequest,
) -> Result<Page<SessionView>> {
    let after = id_mark(page)?.unwrap_or_default();
    let found = {
        let cells = Cells::new().id(tenant.0).id(after).int(wanted(page)).among(page.among.as_deref());
        rows(conn, LIST, cells).await?
    };
    let views = found.iter().map(views::session).collect::<Result<Vec<_>>>()?;
    Ok(cut(views, page, |view| view.session_id.to_string()))
}

/// Sessions of a shard that need an actor.
pub(in crate::infra::store::postgres) async fn to_run(
    conn: &mut PgConnection,
    shard: Shard,
    after: Option<SessionId>,
    most: usize,
) -> Result<Vec<SessionId>> {
    let found = rows(
        conn,
        TO_RUN,
        Cells::new().int(i64::from(shard.0)).id(after.map(|id| id.0).unwrap_or_default()).int(limit(most)),
    )
    .await?;
    found.iter().map(|row| Ok(SessionId(row.id(0)?))).collect()
}

/// Sessions with work that waits since before `before` although nothing keeps it.
pub(in crate::infra::store::postgres) async fn behind(
    conn: &mut PgConnection,
    shard: Shard,
    before: Timestamp,
    most: usize,
) -> Result<Vec<SessionId>> {
    let found =
        rows(conn, BEHIND, Cells::new().int(i64::from(shard.0)).int(before.0).int(limit(most))).await?;
    found.iter().map(|row| Ok(SessionId(row.id(0)?))).collect()
}

/// The last transitions, newest first.
pub(in crate::infra::store::postgres) async fn timeline(
    conn: &mut PgConnection,
    tenant: TenantId,
    session: SessionId,
) -> Result<Vec<Transition>> {
    let found = rows(conn, TIMELINE, Cells::new().id(session.0).id(tenant.0)).await?;
    found.iter().map(views::transition).collect()
}
