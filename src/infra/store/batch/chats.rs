//! Conversations: one person is known by phone address and by LID, and is one chat.
//!
//! Promises: a chat keeps the address it was first seen by; when two chats turn out to be one, the earlier one keeps
//! everything, and the other's messages and names move to it.

use std::collections::{BTreeSet, HashMap};

use crate::domain::address::{Address, Server};
use crate::domain::ids::{SessionId, TenantId};
use crate::domain::time::Timestamp;

/// A name of a chat within its session.
pub(crate) type Name = (SessionId, String);

/// Numbers that no chat has yet.
pub(crate) type Ids = Box<dyn Iterator<Item = i64> + Send + Sync>;

/// One chat as a batch sees it.
#[derive(Clone, Debug)]
pub(crate) struct Chat {
    pub(crate) tenant: TenantId,
    pub(crate) session: SessionId,
    pub(crate) jid: String,
    pub(crate) pn: Option<String>,
    pub(crate) lid: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) last_message: Option<String>,
    pub(crate) last_message_at: i64,
    pub(crate) stored: bool,
}

/// Two chats that turned out to be one: what the later one has goes to the earlier one.
pub(crate) struct Merge {
    pub(crate) later: i64,
    pub(crate) earlier: i64,
    pub(crate) session: SessionId,
}

/// The chats a batch speaks of.
pub(crate) struct Chats {
    aliases: HashMap<Name, i64>,
    chats: HashMap<i64, Chat>,
    new_aliases: Vec<(Name, TenantId)>,
    changed: BTreeSet<i64>,
    /// Later chat → earlier chat, for those that turned out to be one.
    merged: Vec<(i64, i64, SessionId, bool)>,
    ids: Ids,
}

impl Chats {
    /// The chats that are stored under any of the names spoken of, and numbers for new ones.
    pub(crate) fn known(rows: Vec<(Name, i64, Chat)>, ids: Ids) -> Self {
        let (mut aliases, mut chats) = (HashMap::new(), HashMap::new());
        for (name, id, chat) in rows {
            aliases.insert(name, id);
            chats.insert(id, chat);
        }
        let (new_aliases, changed, merged) = (Vec::new(), BTreeSet::new(), Vec::new());
        Self { aliases, chats, new_aliases, changed, merged, ids }
    }

    /// The chat known by any of these addresses, made if there is none, and from now on known by both.
    /// `None` without an address.
    pub(crate) fn find_or_add(
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
            [] => self.add(tenant, session, names.first()?, at)?,
            [one] => *one,
            [earlier, later, ..] => self.merge(*earlier, *later),
        };
        for address in names {
            self.known_by(id, (tenant, session), address);
        }
        Some(id)
    }

    fn add(&mut self, tenant: TenantId, session: SessionId, address: &Address, at: Timestamp) -> Option<i64> {
        let id = self.ids.next()?;
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
        Some(id)
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
    pub(crate) fn current(&self, id: i64) -> i64 {
        self.merged.iter().fold(id, |at, (later, earlier, _, _)| if at == *later { *earlier } else { at })
    }

    pub(crate) fn get(&self, id: i64) -> Option<&Chat> {
        self.chats.get(&id)
    }

    /// A message was written: the summary shows the latest.
    pub(crate) fn touch(&mut self, id: i64, at: Timestamp, preview: &str) {
        if let Some(chat) = self.chats.get_mut(&id)
            && (chat.last_message.is_none() || at.0 >= chat.last_message_at)
        {
            chat.last_message = Some(preview.to_owned());
            chat.last_message_at = at.0;
            self.changed.insert(id);
        }
    }

    /// The other side says what it is called.
    pub(crate) fn rename(&mut self, id: i64, name: &str) {
        if let Some(chat) = self.chats.get_mut(&id)
            && chat.name.as_deref() != Some(name)
        {
            chat.name = Some(name.to_owned());
            self.changed.insert(id);
        }
    }

    /// The merges to carry out, so that what follows finds each message under the chat it belongs to.
    pub(crate) fn merges(&self) -> impl Iterator<Item = Merge> {
        let stored = self.merged.iter().filter(|(_, _, _, stored)| *stored);
        stored.map(|(later, earlier, session, _)| Merge {
            later: *later,
            earlier: *earlier,
            session: *session,
        })
    }

    /// The chats that are new or have changed.
    pub(crate) fn changed(&self) -> Vec<(i64, &Chat)> {
        self.changed.iter().filter_map(|id| Some((*id, self.chats.get(id)?))).collect()
    }

    /// The names that chats are known by from now on.
    pub(crate) fn named(&self) -> Vec<(&Name, TenantId, i64)> {
        let named = self.new_aliases.iter();
        named.filter_map(|(name, tenant)| Some((name, *tenant, *self.aliases.get(name)?))).collect()
    }
}
