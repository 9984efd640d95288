//! What an account keeps on the server: app-state collections, blocked users, privacy, presence. Opaque where WhatsApp's
//! server could not read it either.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use whatsapp_rust::wacore_binary::Jid;

/// Devices that may watch one account's presence.
const WATCHERS: usize = 4096;
/// Patches kept per collection, and bytes per patch list answer.
const PATCHES: usize = 20_000;
/// Blocked users.
const BLOCKED: usize = 10_000;

/// Stored settings.
#[derive(Default, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) collections: BTreeMap<String, Collection>,
    pub(crate) blocked: BTreeMap<String, u64>,
    pub(crate) privacy: BTreeMap<String, String>,
    pub(crate) status: Option<(String, u64)>,
    pub(crate) disappearing: u32,
}

/// An append-only list of encrypted patches; version n is the state after patch n.
#[derive(Default, Clone, Serialize, Deserialize)]
pub(crate) struct Collection {
    pub(crate) patches: Vec<Vec<u8>>,
}

/// A patch was made against an older version.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Conflict,
    Full,
}

impl Collection {
    pub(crate) fn version(&self) -> u64 {
        self.patches.len() as u64
    }

    /// Appends a patch made on top of `base`.
    pub(crate) fn append(&mut self, base: u64, patch: Vec<u8>) -> Result<u64, Refused> {
        if base != self.version() {
            return Err(Refused::Conflict);
        }
        if self.patches.len() >= PATCHES {
            return Err(Refused::Full);
        }
        self.patches.push(patch);
        Ok(self.version())
    }

    /// Patches after a version.
    pub(crate) fn after(&self, version: u64) -> &[Vec<u8>] {
        let from = usize::try_from(version).unwrap_or(usize::MAX).min(self.patches.len());
        self.patches.get(from..).unwrap_or_default()
    }
}

impl Settings {
    /// Blocks or unblocks.
    pub(crate) fn block(&mut self, user: String, blocked: bool, now: u64) {
        if !blocked {
            self.blocked.remove(&user);
        } else if self.blocked.len() < BLOCKED {
            self.blocked.insert(user, now);
        }
    }

    /// Sets one privacy category; unknown names are kept, but not without limit.
    pub(crate) fn set_privacy(&mut self, name: String, value: String) {
        if self.privacy.contains_key(&name) || self.privacy.len() < 64 {
            self.privacy.insert(name, value);
        }
    }
}

/// Who is there, and who wants to know. Not stored.
#[derive(Default)]
pub(crate) struct Presence {
    /// Devices that said `available`.
    pub(crate) available: BTreeSet<u16>,
    pub(crate) last_seen: u64,
    /// (phone number, device) of a watcher, and the address it subscribed to.
    pub(crate) watchers: HashMap<(String, u16), Jid>,
}

impl Presence {
    /// Returns whether the account as a whole changed between there and not there.
    pub(crate) fn set(&mut self, device: u16, available: bool, now: u64) -> bool {
        let before = self.available.is_empty();
        if available {
            self.available.insert(device);
        } else {
            self.available.remove(&device);
        }
        let after = self.available.is_empty();
        if after && !before {
            self.last_seen = now;
        }
        before != after
    }

    pub(crate) fn watch(&mut self, phone: &str, device: u16, target: Jid) {
        if self.watchers.len() < WATCHERS {
            self.watchers.insert((phone.to_owned(), device), target);
        }
    }

    pub(crate) fn unwatch(&mut self, phone: &str, device: u16) {
        self.watchers.remove(&(phone.to_owned(), device));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_on_an_old_version_is_a_conflict_and_changes_nothing() {
        let mut collection = Collection::default();
        assert_eq!(collection.append(0, vec![1]), Ok(1));
        assert_eq!(collection.append(0, vec![2]), Err(Refused::Conflict));
        assert_eq!(collection.append(1, vec![3]), Ok(2));
        assert_eq!(collection.after(1), [vec![3]]);
        assert!(collection.after(9).is_empty());
    }

    #[test]
    fn an_account_is_there_while_one_device_is() {
        let mut presence = Presence::default();
        assert!(presence.set(1, true, 10));
        assert!(!presence.set(2, true, 11));
        assert!(!presence.set(1, false, 12));
        assert!(presence.set(2, false, 13));
        assert_eq!(presence.last_seen, 13);
    }
}
