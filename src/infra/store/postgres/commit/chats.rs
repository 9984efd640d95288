//! Conversations as rows. Whoever changes one holds its session.

use std::sync::{Mutex, PoisonError};

use sqlx::postgres::PgConnection;

use super::Tx;
use crate::domain::error::Result;
use crate::domain::ids::{SessionId, TenantId};
use crate::infra::store::batch::chats::{Chat, Chats, Ids, Merge, Name};
use crate::infra::store::columns::Columns;
use crate::infra::store::postgres::sql::{Cells, execute, rows};

const LOAD: &str = "select a.session_id, a.address, c.id, c.tenant_id, c.jid, c.pn, c.lid, c.name, c.last_message, \
    c.last_message_at from unnest($1::uuid[], $2::text[]) v(session_id, address) join session_chat_aliases a \
    on a.session_id = v.session_id and a.address = v.address join session_chats c on c.id = a.chat_id";
const SAVE: &str = "insert into session_chats (id, tenant_id, session_id, jid, pn, lid, name, last_message, \
    last_message_at) select * from unnest($1::bigint[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], \
    $7::text[], $8::text[], $9::bigint[]) on conflict (id) do update set pn = excluded.pn, lid = excluded.lid, \
    name = excluded.name, last_message = excluded.last_message, last_message_at = excluded.last_message_at";
const SAVE_ALIASES: &str = "insert into session_chat_aliases (session_id, address, chat_id, tenant_id) \
    select * from unnest($1::uuid[], $2::text[], $3::bigint[], $4::uuid[]) on conflict do nothing";
const NEXT: &str = "select nextval('session_chat_ids') from generate_series(1, $1)";
/// How many numbers are taken at a time: the sequence's step.
const BLOCK: i64 = 1_000;

/// A message that both chats hold is one message: the earlier chat's stays.
const DROP_TWINS: &str = "with twins as (select m.id, m.wa_id, m.direction, m.author from session_messages m \
        where m.chat_id = $2 and m.state > 0 and exists (select from session_message_ids e where e.session_id = $3 \
        and e.wa_id = m.wa_id and e.chat_id = $1 and e.direction = m.direction and e.author = m.author)), \
    dropped as (delete from session_messages m using twins t where m.id = t.id) \
    delete from session_message_ids i using twins t where i.session_id = $3 and i.wa_id = t.wa_id and i.chat_id = $2 \
    and i.direction = t.direction and i.author = t.author";
const MOVE_NAMES: &str = "update session_message_ids i set chat_id = $1 from session_messages m where m.chat_id = $2 \
    and i.session_id = $3 and i.wa_id = m.wa_id and i.chat_id = $2 and i.direction = m.direction and i.author = m.author";
const MOVE_MESSAGES: &str = "update session_messages set chat_id = $1 where chat_id = $2";
const MOVE_ALIASES: &str =
    "update session_chat_aliases set chat_id = $1 where session_id = $3 and chat_id = $2";
const DROP_CHAT: &str = "delete from session_chats where id = $1";

/// Numbers for new chats, taken from the server a block at a time. What a crash leaves of one is lost, which matters not.
#[derive(Default)]
pub(in crate::infra::store::postgres) struct ChatIds(Mutex<Vec<std::ops::Range<i64>>>);

impl ChatIds {
    /// At least this many.
    pub(super) async fn take(&self, conn: &mut PgConnection, count: usize) -> Result<Vec<i64>> {
        let mut taken = self.at_hand(count);
        if taken.len() < count {
            let missing = i64::try_from(count - taken.len()).unwrap_or(BLOCK);
            let blocks = rows(conn, NEXT, Cells::new().int(1 + missing / BLOCK)).await?;
            let blocks = blocks.iter().map(|row| Ok(row.int(0)?..row.int(0)? + BLOCK));
            let blocks = blocks.collect::<Result<Vec<_>>>()?;
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(blocks);
            taken.extend(self.at_hand(count - taken.len()));
        }
        Ok(taken)
    }

    fn at_hand(&self, count: usize) -> Vec<i64> {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = blocks.iter_mut().flatten().take(count).collect();
        blocks.retain(|block| !block.is_empty());
        taken
    }
}

/// Reads the chats known by any of these names.
pub(super) async fn load(tx: &mut Tx<'_>, mut names: Vec<Name>) -> Result<Chats> {
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(Chats::known(Vec::new(), Box::new(std::iter::empty())));
    }
    let cells = Cells::new()
        .ids(names.iter().map(|(session, _)| session.0))
        .texts(names.iter().map(|(_, address)| address.as_str()));
    let mut known = Vec::new();
    for row in rows(tx.conn, LOAD, cells).await? {
        let session = SessionId(row.id(0)?);
        known.push(((session, row.text(1)?.to_owned()), row.int(2)?, stored(&row, session)?));
    }
    let mut ids: Ids = Box::new(std::iter::empty());
    if known.len() < names.len() {
        ids = Box::new(tx.chat_ids.take(tx.conn, names.len() - known.len()).await?.into_iter());
    }
    Ok(Chats::known(known, ids))
}

/// Carries out the merges, so that what follows finds each message under the chat it belongs to.
pub(super) async fn flush_merges(conn: &mut PgConnection, chats: &Chats) -> Result<()> {
    let merges: Vec<_> = chats.merges().collect();
    for Merge { later, earlier, session } in merges {
        for sql in [DROP_TWINS, MOVE_NAMES, MOVE_ALIASES] {
            execute(conn, sql, Cells::new().int(earlier).int(later).id(session.0)).await?;
        }
        execute(conn, MOVE_MESSAGES, Cells::new().int(earlier).int(later)).await?;
        execute(conn, DROP_CHAT, Cells::new().int(later)).await?;
    }
    Ok(())
}

/// Writes the chats that are new or have changed, and their new names.
pub(super) async fn flush(conn: &mut PgConnection, chats: &Chats) -> Result<()> {
    let changed = chats.changed();
    if !changed.is_empty() {
        let cells = Cells::new()
            .ints(changed.iter().map(|(id, _)| *id))
            .ids(changed.iter().map(|(_, chat)| chat.tenant.0))
            .ids(changed.iter().map(|(_, chat)| chat.session.0))
            .texts(changed.iter().map(|(_, chat)| chat.jid.as_str()))
            .opt_texts(changed.iter().map(|(_, chat)| chat.pn.as_deref()))
            .opt_texts(changed.iter().map(|(_, chat)| chat.lid.as_deref()))
            .opt_texts(changed.iter().map(|(_, chat)| chat.name.as_deref()))
            .opt_texts(changed.iter().map(|(_, chat)| chat.last_message.as_deref()))
            .ints(changed.iter().map(|(_, chat)| chat.last_message_at));
        execute(conn, SAVE, cells).await?;
    }
    let named = chats.named();
    if !named.is_empty() {
        let cells = Cells::new()
            .ids(named.iter().map(|((session, _), _, _)| session.0))
            .texts(named.iter().map(|((_, address), _, _)| address.as_str()))
            .ints(named.iter().map(|(_, _, chat)| *chat))
            .ids(named.iter().map(|(_, tenant, _)| tenant.0));
        execute(conn, SAVE_ALIASES, cells).await?;
    }
    Ok(())
}

fn stored(row: &impl Columns, session: SessionId) -> Result<Chat> {
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
