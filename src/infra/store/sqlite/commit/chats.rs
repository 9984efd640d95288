//! Conversations as rows.

use rusqlite::Connection;

use crate::domain::error::Result;
use crate::domain::ids::{SessionId, TenantId};
use crate::infra::store::batch::chats::{Chat, Chats, Name};
use crate::infra::store::columns::Columns;
use crate::infra::store::sqlite::statement::{Row, each, execute, fetch, row};

pub(super) const LOAD: &str = "select a.session_id, a.address, c.id, c.tenant_id, c.jid, c.pn, c.lid, c.name, \
    c.last_message, c.last_message_at from session_chat_aliases a cross join session_chats c on c.id = a.chat_id \
    where a.session_id = ? and a.address = ?";
const SAVE: &str = "insert into session_chats (id, tenant_id, session_id, jid, pn, lid, name, last_message, \
    last_message_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (id) do update set pn = excluded.pn, \
    lid = excluded.lid, name = excluded.name, last_message = excluded.last_message, \
    last_message_at = excluded.last_message_at";
const SAVE_ALIASES: &str = "insert into session_chat_aliases (session_id, address, chat_id, tenant_id) \
    values (?, ?, ?, ?) on conflict do nothing";

const NEXT: &str = "select coalesce(max(id), 0) + 1 from session_chats";
/// A message that both chats hold is one message: the earlier chat's stays.
const MOVE_MESSAGES: &str = "update or ignore session_messages set chat_id = ? where chat_id = ?";
const DROP_MESSAGES: &str = "delete from session_messages where chat_id = ?";
const MOVE_ALIASES: &str = "update session_chat_aliases set chat_id = ? where session_id = ? and chat_id = ?";
const DROP_CHAT: &str = "delete from session_chats where id = ?";

/// Reads the chats known by any of these names.
pub(super) fn load(conn: &Connection, mut names: Vec<Name>) -> Result<Chats> {
    names.sort_unstable();
    names.dedup();
    let rows = fetch(conn, LOAD, &names, |(session, address), cells| {
        cells.id(session.0).text(address);
    });
    let mut known = Vec::new();
    for row in rows? {
        let session = SessionId(row.id(0)?);
        known.push(((session, row.text(1)?.to_owned()), row.int(2)?, stored(&row, session)?));
    }
    let mut next = i64::MAX;
    if known.len() < names.len() {
        next = row(conn, NEXT, |_none| ())?.map_or(Ok(1), |row| row.int(0))?;
    }
    Ok(Chats::known(known, Box::new(next..i64::MAX)))
}

/// Carries out the merges, so that what follows finds each message under the chat it belongs to.
pub(super) fn flush_merges(conn: &Connection, chats: &Chats) -> Result<()> {
    for merge in chats.merges() {
        execute(conn, MOVE_MESSAGES, |cells| {
            cells.int(merge.earlier).int(merge.later);
        })?;
        execute(conn, DROP_MESSAGES, |cells| {
            cells.int(merge.later);
        })?;
        execute(conn, MOVE_ALIASES, |cells| {
            cells.int(merge.earlier).id(merge.session.0).int(merge.later);
        })?;
        execute(conn, DROP_CHAT, |cells| {
            cells.int(merge.later);
        })?;
    }
    Ok(())
}

/// Writes the chats that are new or have changed, and their new names.
pub(super) fn flush(conn: &Connection, chats: &Chats) -> Result<()> {
    each(conn, SAVE, &chats.changed(), |(id, chat), cells| {
        cells.int(*id).id(chat.tenant.0).id(chat.session.0).text(&chat.jid);
        cells.opt_text(chat.pn.as_deref()).opt_text(chat.lid.as_deref()).opt_text(chat.name.as_deref());
        cells.opt_text(chat.last_message.as_deref()).int(chat.last_message_at);
    })?;
    each(conn, SAVE_ALIASES, &chats.named(), |((session, address), tenant, chat), cells| {
        cells.id(session.0).text(address).int(*chat).id(tenant.0);
    })
    .map(drop)
}

fn stored(row: &Row, session: SessionId) -> Result<Chat> {
    Ok(Chat {
        tenant: TenantId(row.id(3)?),
        session,
        jid: row.text(4)?.to_owned(),
        pn: row.opt_text(5)?,
        lid: row.opt_text(6)?,
        name: row.opt_text(7)?,
        last_message: row.opt_text(8)?,
        last_message_at: row.int(9)?,
        stored: true,
    })
}
