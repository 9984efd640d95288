//! What pacing knows of a session, and of a message that waits.

use sqlx::sqlite::SqlitePool;

use crate::domain::error::Result;
use crate::domain::ids::{MessageId, SessionId, TenantId};
use crate::domain::pacing::History;
use crate::infra::store::batch::paced;
use crate::infra::store::columns::Columns;
use crate::infra::store::sqlite::sql::row;

const HISTORY: &str = "select s.linked_at, p.day, p.sent, p.new_chats, p.rate_at, p.new_chat_at, \
    p.chats_refused, p.chats_until, p.sends_refused, p.sends_until \
    from sessions s left join session_pacing p on p.session_id = s.id \
    where s.id = ? and s.tenant_id = ? and s.deleted_at is null";
const BEGINS_CHAT: &str = "select m.peer like '%@s.whatsapp.net' or m.peer like '%@lid' from session_messages m \
    where m.id = ? and m.tenant_id = ? and m.state = 0 \
    and not exists (select 1 from session_messages n where n.chat_id = m.chat_id \
        and (n.direction = 'in' or n.state between 1 and 5))";

/// What a session has sent and what was refused.
pub(in crate::infra::store::sqlite) async fn history(
    pool: &SqlitePool,
    tenant: TenantId,
    session: SessionId,
) -> Result<Option<History>> {
    let found = row(pool, HISTORY, |cells| {
        cells.id(session.0).id(tenant.0);
    })
    .await?;
    found.map(|row| paced::history(&row, 0)).transpose()
}

/// Whether a message that waits is for a person with whom nothing was said yet.
pub(in crate::infra::store::sqlite) async fn begins_chat(
    pool: &SqlitePool,
    tenant: TenantId,
    message: MessageId,
) -> Result<bool> {
    let found = row(pool, BEGINS_CHAT, |cells| {
        cells.id(message.0).id(tenant.0);
    })
    .await?;
    found.map_or(Ok(false), |row| Ok(row.int(0)? != 0))
}
