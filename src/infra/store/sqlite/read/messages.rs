//! Messages, one by one and by conversation.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use uuid::Uuid;

use super::{cut, moment_mark, wanted};
use crate::domain::address::Address;
use crate::domain::content::Content;
use crate::domain::error::Result;
use crate::domain::ids::{MessageId, SessionId, TenantId, WaId};
use crate::domain::message::Direction;
use crate::domain::time::Timestamp;
use crate::domain::view::{MessageView, Page, PageRequest};
use crate::infra::store::sqlite::commit::message_state;
use crate::infra::store::sqlite::sql::{Columns, row, rows};

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
/// The chats known by the address, one per session; of each its latest messages below the cursor, by the index.
const LIST: &str = select!(
    "from session_chat_aliases a cross join session_chats c on c.id = a.chat_id \
     cross join session_messages m on m.id in ( \
        select n.id from session_messages n where n.chat_id = a.chat_id and (n.timestamp, n.id) < (?4, ?5) \
        order by n.timestamp desc, n.id desc limit ?6) \
     where a.tenant_id = ?1 and a.address = ?2 and (?3 is null or a.session_id = ?3) \
     order by m.timestamp desc, m.id desc limit ?6"
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
    found.as_ref().map(view).transpose()
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
    let found = rows(pool, LIST, |cells| {
        cells.id(tenant.0).text(&name).opt_id(session.map(|id| id.0)).int(at).id(id).int(wanted(page));
    })
    .await?;
    let views = found.iter().map(view).collect::<Result<Vec<_>>>()?;
    Ok(cut(views, page, |view| format!("{}/{}", view.timestamp.0, view.message_id)))
}

fn view(row: &SqliteRow) -> Result<MessageView> {
    let direction = if row.text(5)? == Direction::In.as_str() { Direction::In } else { Direction::Out };
    Ok(MessageView {
        message_id: MessageId(row.id(0)?),
        wa_message_id: WaId(row.text(1)?.to_owned()),
        session_id: SessionId(row.id(2)?),
        chat: row.text(3)?.to_owned(),
        sender: row.opt_text(4)?.filter(|_| direction == Direction::In),
        direction,
        content: Content::stored(row.text(6)?),
        state: message_state(row.int(7)?)?,
        code: row.opt_text(8)?,
        failure: row.opt_text(9)?,
        timestamp: Timestamp(row.int(10)?),
        updated_at: Timestamp(row.int(11)?),
    })
}
