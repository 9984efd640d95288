//! All accounts of a sandbox, found by number, LID, name or a device's Noise key. PROMISES: looking up never waits for
//! cryptography or for an account's own locks.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use whatsapp_rust::wacore_binary::Jid;

use super::Account;
use crate::error::{Code, Result, SandboxError};

/// The accounts.
#[derive(Default)]
pub(crate) struct Book {
    maps: RwLock<Maps>,
}

#[derive(Default)]
struct Maps {
    by_phone: HashMap<String, Arc<Account>>,
    by_lid: HashMap<String, Arc<Account>>,
    by_name: HashMap<String, Arc<Account>>,
    by_noise: HashMap<[u8; 32], (Arc<Account>, u16)>,
    serial: u64,
}

/// A number and LID that no account has yet.
pub(crate) struct Fresh {
    pub(crate) phone: String,
    pub(crate) lid: String,
}

impl Book {
    /// Reserves addresses for a new account. `phone` asks for a number of one's own.
    pub(crate) fn reserve(&self, phone: Option<&str>, limit: usize) -> Result<Fresh> {
        let mut maps = self.write();
        if maps.by_phone.len() >= limit {
            return Err(SandboxError::new(Code::Full, "the sandbox has no room for another account"));
        }
        loop {
            maps.serial += 1;
            // +1 555 01x xxxx: numbers reserved for fiction.
            let number = phone.map_or_else(|| format!("1555{:07}", 100_000 + maps.serial), str::to_owned);
            let lid = format!("1000000{:08}", maps.serial);
            if maps.by_lid.contains_key(&lid) {
                continue;
            }
            if !maps.by_phone.contains_key(&number) {
                return Ok(Fresh { phone: number, lid });
            }
            if phone.is_some() {
                return Err(SandboxError::new(Code::Conflict, "the number has an account"));
            }
        }
    }

    /// Adds an account with the devices it has. The number may have been taken in between.
    pub(crate) fn insert(&self, account: Arc<Account>) -> Result<()> {
        let mut maps = self.write();
        if maps.by_phone.contains_key(&account.phone) || maps.by_lid.contains_key(&account.lid) {
            return Err(SandboxError::new(Code::Conflict, "the number has an account"));
        }
        maps.by_phone.insert(account.phone.clone(), Arc::clone(&account));
        maps.by_lid.insert(account.lid.clone(), Arc::clone(&account));
        maps.by_name.entry(account.name.clone()).or_insert_with(|| Arc::clone(&account));
        for device in account.devices() {
            if let Some(noise) = device.noise {
                maps.by_noise.insert(noise, (Arc::clone(&account), device.id));
            }
        }
        Ok(())
    }

    /// An account by number, with or without `+`, or as a JID.
    pub(crate) fn find(&self, phone: &str) -> Option<Arc<Account>> {
        let user = phone.trim_start_matches('+');
        if let Some(account) = self.read().by_phone.get(user) {
            return Some(Arc::clone(account));
        }
        user.parse::<Jid>().ok().and_then(|jid| self.of(&jid))
    }

    /// As [`Self::find`], or an error for the admin surface.
    pub(crate) fn need(&self, phone: &str) -> Result<Arc<Account>> {
        self.find(phone).ok_or_else(|| SandboxError::not_found("no such account"))
    }

    pub(crate) fn named(&self, name: &str) -> Option<Arc<Account>> {
        self.read().by_name.get(name).cloned()
    }

    /// The account an address belongs to.
    pub(crate) fn of(&self, jid: &Jid) -> Option<Arc<Account>> {
        let maps = self.read();
        let map = match () {
            () if jid.server.is_lid_family() => &maps.by_lid,
            () if jid.server.is_pn_family() || jid.server.as_str() == "c.us" => &maps.by_phone,
            () => return None,
        };
        map.get(jid.user.as_str()).cloned()
    }

    /// The device that logs in with this Noise key.
    pub(crate) fn by_noise(&self, key: &[u8; 32]) -> Option<(Arc<Account>, u16)> {
        self.read().by_noise.get(key).cloned()
    }

    pub(crate) fn add_noise(&self, key: [u8; 32], account: &Arc<Account>, device: u16) {
        self.write().by_noise.insert(key, (Arc::clone(account), device));
    }

    pub(crate) fn remove_noise(&self, key: &[u8; 32]) {
        self.write().by_noise.remove(key);
    }

    /// All accounts, by number.
    pub(crate) fn all(&self) -> Vec<Arc<Account>> {
        let mut all: Vec<_> = self.read().by_phone.values().cloned().collect();
        all.sort_unstable_by(|a, b| a.phone.cmp(&b.phone));
        all
    }

    pub(crate) fn serial(&self) -> u64 {
        self.read().serial
    }

    pub(crate) fn set_serial(&self, serial: u64) {
        let mut maps = self.write();
        maps.serial = maps.serial.max(serial);
    }

    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Maps> {
        self.maps.write().unwrap_or_else(PoisonError::into_inner)
    }
}
