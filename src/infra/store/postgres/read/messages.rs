//! Messages, one by one and by conversation.

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::domain::address::Address;
use crate::domain::error::Result;
use crate::domain::ids::{MessageId, SessionId, TenantId, WaId};
use crate::domain::view::{MessageView, Page, PageRequest};
use crate::infra::store::paging::{cut, moment_mark, wanted};
use crate::infra::store::postgres::sql::{Cells, row, rows};
use crate::infra::store::views;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select m.id, m.wa_id, m.session_id, c.jid, m.peer, m.direction, m.content, m.state, m.code, m.failure, \
             m.timestamp, m.updated_at ",
            $rest
        )
    };
}

const ONE: &str = select!(
    "from session_messages m join session_chats c on c.id = m.chat_id where m.id = $1 and m.tenant_id = $2"
);
/// By the table that keeps messages from being stored twice.
const HAS: &str = "select 1 from session_message_ids i join sessions s on s.id = i.session_id \
    where i.session_id = $1 and i.wa_id = $2 and s.tenant_id = $3 limit 1";
/// Of each chat known by the address, its latest messages below the cursor, by the index.
const OF_SESSION: &str = select!(
    "from session_chat_aliases a join session_chats c on c.id = a.chat_id \
     cross join lateral ( \
        select n.* from session_messages n where n.chat_id = a.chat_id and (n.timestamp, n.id) < ($3, $4) \
        order by n.timestamp desc, n.id desc limit $5) m \
     where a.session_id = $6 and a.address = $2 and a.tenant_id = $1 \
     order by m.timestamp desc, m.id desc limit $5"
);
/// The same of every session of the tenant that knows the address.
const OF_TENANT: &str = select!(
    "from sessions s join session_chat_aliases a on a.session_id = s.id and a.address = $2 \
     join session_chats c on c.id = a.chat_id \
     cross join lateral ( \
        select n.* from session_messages n where n.chat_id = a.chat_id and (n.timestamp, n.id) < ($3, $4) \
        order by n.timestamp desc, n.id desc limit $5) m \
     where s.tenant_id = $1 and ($6 is null or s.id = any($6)) \
     order by m.timestamp desc, m.id desc limit $5"
);

/// One message.
pub(in crate::infra::store::postgres) async fn one(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: MessageId,
) -> Result<Option<MessageView>> {
    let found = row(conn, ONE, Cells::new().id(id.0).id(tenant.0)).await?;
    found.as_ref().map(views::message).transpose()
}

/// Whether a session has a message that WhatsApp knows by this id.
pub(in crate::infra::store::postgres) async fn has(
    conn: &mut PgConnection,
    (tenant, session): (TenantId, SessionId),
    id: &WaId,
) -> Result<bool> {
    let found = row(conn, HAS, Cells::new().id(session.0).text(&id.0).id(tenant.0));
    Ok(found.await?.is_some())
}

/// Messages of a conversation, newest first.
pub(in crate::infra::store::postgres) async fn list(
    conn: &mut PgConnection,
    (tenant, session): (TenantId, Option<SessionId>),
    chat: &str,
    page: &PageRequest,
) -> Result<Page<MessageView>> {
    let name = chat.parse::<Address>().map_or_else(|_odd| chat.to_owned(), |address| address.to_string());
    let (at, id) = moment_mark(page)?.unwrap_or((i64::MAX, Uuid::max()));
    let cells = Cells::new().id(tenant.0).text(&name).int(at).id(id).int(wanted(page));
    let found = match session {
        Some(session) => rows(conn, OF_SESSION, cells.id(session.0)).await?,
        None => rows(conn, OF_TENANT, cells.among(page.among.as_deref())).await?,
    };
    let views = found.iter().map(views::message).collect::<Result<Vec<_>>>()?;
    Ok(cut(views, page, |view| format!("{}/{}", view.timestamp.0, view.message_id)))
}
