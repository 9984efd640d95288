//! Conversations, the latest first.

use sqlx::postgres::PgConnection;

use crate::domain::error::Result;
use crate::domain::ids::{SessionId, TenantId};
use crate::domain::view::{ChatView, Page, PageRequest};
use crate::infra::store::paging::{cut, moment_mark, wanted};
use crate::infra::store::postgres::sql::{Cells, rows};
use crate::infra::store::views;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select c.id, c.jid, c.session_id, c.pn, c.lid, c.name, c.last_message, c.last_message_at ",
            $rest,
            " and (c.last_message_at, c.id) < ($2, $3) order by c.last_message_at desc, c.id desc limit $4"
        )
    };
}

const OF_TENANT: &str =
    select!("from session_chats c where c.tenant_id = $1 and ($5 is null or c.session_id = any($5))");
/// All the session's chats are looked at: there are as many as one person has, and no index to keep.
const OF_SESSION: &str = select!(
    "from (select distinct chat_id from session_chat_aliases where session_id = $5) v \
     join session_chats c on c.id = v.chat_id where c.tenant_id = $1"
);

/// Conversations of a tenant, or of one of its sessions.
pub(in crate::infra::store::postgres) async fn list(
    conn: &mut PgConnection,
    tenant: TenantId,
    session: Option<SessionId>,
    page: &PageRequest,
) -> Result<Page<ChatView>> {
    let (at, id) = moment_mark(page)?.unwrap_or((i64::MAX, i64::MAX));
    let cells = Cells::new().id(tenant.0).int(at).int(id).int(wanted(page));
    let found = match session {
        Some(session) => rows(conn, OF_SESSION, cells.id(session.0)).await?,
        None => rows(conn, OF_TENANT, cells.among(page.among.as_deref())).await?,
    };
    let chats = found.iter().map(views::chat).collect::<Result<Vec<_>>>()?;
    let page = cut(chats, page, |(id, view)| format!("{}/{id}", view.last_message_at.0));
    let items = page.items.into_iter().map(|(_, view)| view).collect();
    Ok(Page { items, next_cursor: page.next_cursor })
}
