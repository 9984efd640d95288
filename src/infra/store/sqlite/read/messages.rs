//! Messages, one by one and by conversation.

use sqlx::sqlite::SqlitePool;
use uuid::Uuid;

use crate::domain::address::Address;
use crate::domain::error::Result;
use crate::domain::ids::{MessageId, SessionId, TenantId, WaId};
use crate::domain::view::{MessageView, Page, PageRequest};
use crate::infra::store::paging::{cut, moment_mark, wanted};
use crate::infra::store::sqlite::sql::{row, rows};
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
    "from session_messages m cross join session_chats c on c.id = m.chat_id where m.id = ? and m.tenant_id = ?"
);
/// By the index that keeps messages from being stored twice: its condition stands here word for word.
const HAS: &str = "select 1 from session_messages where session_id = ? and wa_id = ? and state > 0 and tenant_id = ? limit 1";
/// Of each chat known by the address, its latest messages below the cursor, by the index.
pub(in crate::infra::store::sqlite) const OF_SESSION: &str = select!(
    "from session_chat_aliases a cross join session_chats c on c.id = a.chat_id \
     cross join session_messages m on m.id in ( \
        select n.id from session_messages n where n.chat_id = a.chat_id and (n.timestamp, n.id) < (?3, ?4) \
        order by n.timestamp desc, n.id desc limit ?5) \
     where a.session_id = ?6 and a.address = ?2 and a.tenant_id = ?1 \
     order by m.timestamp desc, m.id desc limit ?5"
);
/// The same of every session of the tenant that knows the address.
pub(in crate::infra::store::sqlite) const OF_TENANT: &str = select!(
    "from sessions s cross join session_chat_aliases a on a.session_id = s.id and a.address = ?2 \
     cross join session_chats c on c.id = a.chat_id \
     cross join session_messages m on m.id in ( \
        select n.id from session_messages n where n.chat_id = a.chat_id and (n.timestamp, n.id) < (?3, ?4) \
        order by n.timestamp desc, n.id desc limit ?5) \
     where s.tenant_id = ?1 and (?6 is null or instr(?6, hex(s.id)) > 0) \
     order by m.timestamp desc, m.id desc limit ?5"
);

/// One message.
pub(in crate::infra::store::sqlite) async fn one(
    pool: &SqlitePool,
    tenant: TenantId,
    id: MessageId,
) -> Result<Option<MessageView>> {
    let found = row(pool, ONE, |cells| {
        cells.id(id.0).id(tenant.0);
    })
    .await?;
    found.as_ref().map(views::message).transpose()
}

/// Whether a session has a message that WhatsApp knows by this id.
pub(in crate::infra::store::sqlite) async fn has(
    pool: &SqlitePool,
    (tenant, session): (TenantId, SessionId),
    id: &WaId,
) -> Result<bool> {
    let found = row(pool, HAS, |cells| {
        cells.id(session.0).text(&id.0).id(tenant.0);
    });
    Ok(found.await?.is_some())
}

/// Messages of a conversation, newest first.
pub(in crate::infra::store::sqlite) async fn list(
    pool: &SqlitePool,
    (tenant, session): (TenantId, Option<SessionId>),
    chat: &str,
    page: &PageRequest,
) -> Result<Page<MessageView>> {
    let name = chat.parse::<Address>().map_or_else(|_odd| chat.to_owned(), |address| address.to_string());
    let (at, id) = moment_mark(page)?.unwrap_or((i64::MAX, Uuid::max()));
    let sql = if session.is_some() { OF_SESSION } else { OF_TENANT };
    let found = rows(pool, sql, |cells| {
        cells.id(tenant.0).text(&name).int(at).id(id).int(wanted(page));
        match session {
            Some(session) => cells.id(session.0),
            None => cells.among(page.among.as_deref()),
        };
    })
    .await?;
    let views = found.iter().map(views::message).collect::<Result<Vec<_>>>()?;
    Ok(cut(views, page, |view| format!("{}/{}", view.timestamp.0, view.message_id)))
}
