//! The audit log.

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::domain::error::Result;
use crate::domain::identity::{AuditFilter, AuditView};
use crate::domain::ids::TenantId;
use crate::domain::view::{Page, PageRequest};
use crate::infra::store::paging::{cut, moment_mark, wanted};
use crate::infra::store::postgres::sql::{Cells, rows};
use crate::infra::store::views::people as views;

const LIST: &str = "select id, at, actor_kind, actor_id, action, target_kind, target_id, request_id, client, detail \
    from audit_log where tenant_id = $1 and (at, id) < ($2, $3) and at < $4 and at >= $5 \
    and ($6 is null or (actor_kind = $6 and actor_id is not distinct from $7)) and ($8 is null or action = $8) \
    and ($9 is null or target_id = $9) order by at desc, id desc limit $10";

/// Entries of a tenant, newest first.
pub(in crate::infra::store::postgres) async fn list(
    conn: &mut PgConnection,
    tenant: TenantId,
    filter: &AuditFilter,
    page: &PageRequest,
) -> Result<Page<AuditView>> {
    let (at, id) = moment_mark::<Uuid>(page)?.unwrap_or((i64::MAX, Uuid::max()));
    let found = rows(
        conn,
        LIST,
        Cells::new()
            .id(tenant.0)
            .int(at)
            .id(id)
            .int(filter.until.map_or(i64::MAX, |at| at.0))
            .int(filter.since.map_or(0, |at| at.0))
            .opt_text(filter.actor.map(|actor| actor.kind.as_str()))
            .opt_id(filter.actor.and_then(|actor| actor.id))
            .opt_text(filter.action.as_deref())
            .opt_text(filter.target.as_deref())
            .int(wanted(page)),
    );
    let views = found.await?.iter().map(views::audit).collect::<Result<Vec<_>>>()?;
    Ok(cut(views, page, |view| format!("{}/{}", view.at.0, view.audit_id)))
}
