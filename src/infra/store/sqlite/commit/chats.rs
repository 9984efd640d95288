//! Conversations: one person is known by phone address and by LID, and is one chat.
//!
//! Promises: a chat keeps the address it was first seen by; when two chats turn out to be one, the earlier one keeps
//! everything, and the other's messages and names move to it.

use std::collections::{BTreeSet, HashMap};

use rusqlite::Connection;

use crate::domain::address::{Address, Server};
use crate::domain::error::Result;
use crate::domain::ids::{SessionId, TenantId};
use crate::domain::time::Timestamp;
use crate::infra::store::sqlite::sql::Columns;
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

/// A name of a chat within its session.
pub(super) type Name = (SessionId, String);

/// One chat as a batch sees it.
#[derive(Clone, Debug)]
pub(super) struct Chat {
    pub(super) tenant: TenantId,
    pub(super) session: SessionId,
    pub(super) jid: String,
    pub(super) pn: Option<String>,
    pub(super) lid: Option<String>,
    name: Option<String>,
    last_message: Option<String>,
    last_message_at: i64,
    stored: bool,
}

/// The chats a batch speaks of.
pub(super) struct Chats {
    aliases: HashMap<Name, i64>,
    chats: HashMap<i64, Chat>,
    new_aliases: Vec<(Name, TenantId)>,
    changed: BTreeSet<i64>,
    /// Later chat → earlier chat, for those that turned out to be one.
    merged: Vec<(i64, i64, SessionId, bool)>,
    next: i64,
}

impl Chats {
    pub(super) fn load(conn: &Connection, mut names: Vec<Name>) -> Result<Self> {
        names.sort_unstable();
        names.dedup();
        let rows = fetch(conn, LOAD, &names, |(session, address), cells| {
            cells.id(session.0).text(address);
        });
        let (mut aliases, mut chats) = (HashMap::new(), HashMap::new());
        for row in rows? {
            let (session, id) = (SessionId(row.id(0)?), row.int(2)?);
            aliases.insert((session, row.text(1)?.to_owned()), id);
            chats.insert(id, stored(&row, session)?);
        }
        let mut next = 0;
        if aliases.len() < names.len() {
            next = row(conn, NEXT, |_none| ())?.map_or(Ok(1), |row| row.int(0))?;
        }
        let (new_aliases, changed, merged) = (Vec::new(), BTreeSet::new(), Vec::new());
        Ok(Self { aliases, chats, new_aliases, changed, merged, next })
    }

    /// The chat known by any of these addresses, made if there is none, and from now on known by both.
    /// `None` without an address.
    pub(super) fn find_or_add(
        &mut self,
        (tenant, session): (TenantId, SessionId),
        first: Option<&Address>,
        second: Option<&Address>,
        at: Timestamp,
    ) -> Option<i64> {
        let names: Vec<_> = [first, second].into_iter().flatten().collect();
        let mut known: Vec<i64> = names
            .iter()
            .filter_map(|address| self.aliases.get(&(session, address.to_string())).copied())
            .collect();
        known.sort_unstable();
        known.dedup();
        let id = match known.as_slice() {
            [] => self.add(tenant, session, names.first()?, at),
            [one] => *one,
            [earlier, later, ..] => self.merge(*earlier, *later),
        };
        for address in names {
            self.known_by(id, (tenant, session), address);
        }
        Some(id)
    }

    fn add(&mut self, tenant: TenantId, session: SessionId, address: &Address, at: Timestamp) -> i64 {
        let id = self.next;
        self.next += 1;
        let chat = Chat {
            tenant,
            session,
            jid: address.to_string(),
            pn: None,
            lid: None,
            name: None,
            last_message: None,
            last_message_at: at.0,
            stored: false,
        };
        self.chats.insert(id, chat);
        self.changed.insert(id);
        id
    }

    fn known_by(&mut self, id: i64, (tenant, session): (TenantId, SessionId), address: &Address) {
        let name = (session, address.to_string());
        if self.aliases.get(&name) == Some(&id) {
            return;
        }
        if let Some(chat) = self.chats.get_mut(&id) {
            match address.server() {
                Server::Phone => chat.pn = Some(name.1.clone()),
                Server::Lid => chat.lid = Some(name.1.clone()),
                Server::Group | Server::Newsletter | Server::Broadcast => (),
            }
            self.changed.insert(id);
        }
        self.aliases.insert(name.clone(), id);
        self.new_aliases.push((name, tenant));
    }

    fn merge(&mut self, earlier: i64, later: i64) -> i64 {
        let Some(gone) = self.chats.remove(&later) else { return earlier };
        self.changed.remove(&later);
        if let Some(kept) = self.chats.get_mut(&earlier) {
            kept.pn = kept.pn.take().or(gone.pn);
            kept.lid = kept.lid.take().or(gone.lid);
            kept.name = kept.name.take().or(gone.name);
            if gone.last_message.is_some() && gone.last_message_at >= kept.last_message_at {
                kept.last_message = gone.last_message;
                kept.last_message_at = gone.last_message_at;
            }
            self.changed.insert(earlier);
        }
        for chat in self.aliases.values_mut().filter(|chat| **chat == later) {
            *chat = earlier;
        }
        self.merged.push((later, earlier, gone.session, gone.stored));
        earlier
    }

    /// Where a chat went, if it was merged since.
    pub(super) fn current(&self, id: i64) -> i64 {
        self.merged.iter().fold(id, |at, (later, earlier, _, _)| if at == *later { *earlier } else { at })
    }

    pub(super) fn get(&self, id: i64) -> Option<&Chat> {
        self.chats.get(&id)
    }

    /// A message was written: the summary shows the latest.
    pub(super) fn touch(&mut self, id: i64, at: Timestamp, preview: &str) {
        if let Some(chat) = self.chats.get_mut(&id)
            && (chat.last_message.is_none() || at.0 >= chat.last_message_at)
        {
            chat.last_message = Some(preview.to_owned());
            chat.last_message_at = at.0;
            self.changed.insert(id);
        }
    }

    /// The other side says what it is called.
    pub(super) fn rename(&mut self, id: i64, name: &str) {
        if let Some(chat) = self.chats.get_mut(&id)
            && chat.name.as_deref() != Some(name)
        {
            chat.name = Some(name.to_owned());
            self.changed.insert(id);
        }
    }

    /// Carries out the merges, so that what follows finds each message under the chat it belongs to.
    pub(super) fn flush_merges(&mut self, conn: &Connection) -> Result<()> {
        for (later, earlier, session, stored) in &self.merged {
            if !*stored {
                continue;
            }
            execute(conn, MOVE_MESSAGES, |cells| {
                cells.int(*earlier).int(*later);
            })?;
            execute(conn, DROP_MESSAGES, |cells| {
                cells.int(*later);
            })?;
            execute(conn, MOVE_ALIASES, |cells| {
                cells.int(*earlier).id(session.0).int(*later);
            })?;
            execute(conn, DROP_CHAT, |cells| {
                cells.int(*later);
            })?;
        }
        Ok(())
    }

    pub(super) fn flush(&self, conn: &Connection) -> Result<()> {
        let changed: Vec<_> = self.changed.iter().filter_map(|id| Some((id, self.chats.get(id)?))).collect();
        each(conn, SAVE, &changed, |(id, chat), cells| {
            cells.int(**id).id(chat.tenant.0).id(chat.session.0).text(&chat.jid);
            cells.opt_text(chat.pn.as_deref()).opt_text(chat.lid.as_deref()).opt_text(chat.name.as_deref());
            cells.opt_text(chat.last_message.as_deref()).int(chat.last_message_at);
        })?;
        let named: Vec<_> = self
            .new_aliases
            .iter()
            .filter_map(|(name, tenant)| Some((name, tenant, *self.aliases.get(name)?)))
            .collect();
        each(conn, SAVE_ALIASES, &named, |((session, address), tenant, chat), cells| {
            cells.id(session.0).text(address).int(*chat).id(tenant.0);
        })
        .map(drop)
    }
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
