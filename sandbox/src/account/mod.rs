//! One account: a phone number, its LID, its virtual phone (device 0) and the companions linked to it.
//!
//! PROMISES: every account has its own locks, so accounts never wait for each other; the phone's lock is the only one
//! held over cryptography, and no other lock is held while it is taken.

pub(crate) mod book;
pub(crate) mod device;
pub(crate) mod inbox;
pub(crate) mod mailbox;
pub(crate) mod settings;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use sha2::{Digest as _, Sha256};
use whatsapp_rust::wacore_binary::{Jid, Server};

use crate::config::Limits;
use crate::error::{Code, Result, SandboxError};
use crate::phone::Phone;
use device::Device;
use inbox::Inbox;
use settings::{Presence, Settings};

/// The phone's place among the devices of its account.
pub(crate) const PHONE: u16 = 0;

/// An account. All fields are shared; each lock is a leaf except the phone's.
pub(crate) struct Account {
    pub(crate) phone: String,
    pub(crate) lid: String,
    pub(crate) name: String,
    devices: RwLock<Devices>,
    handset: Mutex<Phone>,
    pub(crate) settings: Mutex<Settings>,
    pub(crate) presence: Mutex<Presence>,
    pub(crate) inbox: Mutex<Inbox>,
    pub(crate) auto_read: AtomicBool,
    dirty: AtomicBool,
}

/// The device list, and what the phone signed about it.
struct Devices {
    all: BTreeMap<u16, Arc<Device>>,
    list: DeviceList,
}

/// What `usync` says about an account's devices.
#[derive(Clone, Default)]
pub(crate) struct DeviceList {
    /// Device id and key index, the phone first (index 0).
    pub(crate) devices: Vec<(u16, u32)>,
    /// `ADVSignedKeyIndexList`.
    pub(crate) signed: Vec<u8>,
    pub(crate) timestamp: u64,
    pub(crate) hash: String,
}

impl Account {
    /// Wraps a phone, new or restored, with its stock of devices.
    pub(crate) fn new(
        handset: Phone,
        devices: Vec<Arc<Device>>,
        settings: Settings,
        limits: &Limits,
    ) -> Result<Self> {
        let account = Self {
            phone: handset.pn().user.to_string(),
            lid: handset.lid().user.to_string(),
            name: handset.push_name().to_owned(),
            devices: RwLock::new(Devices {
                all: devices.into_iter().map(|d| (d.id, d)).collect(),
                list: DeviceList::default(),
            }),
            handset: Mutex::new(handset),
            settings: Mutex::new(settings),
            presence: Mutex::default(),
            inbox: Mutex::new(Inbox::new(limits.inbox)),
            auto_read: AtomicBool::new(false),
            dirty: AtomicBool::new(true),
        };
        account.sign_device_list()?;
        Ok(account)
    }

    /// The virtual phone. Hold it for one operation only.
    pub(crate) fn handset(&self) -> MutexGuard<'_, Phone> {
        lock(&self.handset)
    }

    /// The address in one of the two name spaces.
    pub(crate) fn jid(&self, server: Server, device: u16) -> Jid {
        if server.is_lid_family() {
            Jid::lid_device(self.lid.as_str(), device)
        } else {
            Jid::pn_device(self.phone.as_str(), device)
        }
    }

    /// The address in the other name space.
    pub(crate) fn other_jid(&self, server: Server, device: u16) -> Jid {
        self.jid(if server.is_lid_family() { Server::Pn } else { Server::Lid }, device)
    }

    pub(crate) fn device(&self, id: u16) -> Option<Arc<Device>> {
        self.read_devices().all.get(&id).cloned()
    }

    /// Every device, the phone first.
    pub(crate) fn devices(&self) -> Vec<Arc<Device>> {
        self.read_devices().all.values().cloned().collect()
    }

    pub(crate) fn device_ids(&self) -> Vec<u16> {
        self.read_devices().all.keys().copied().collect()
    }

    /// The signed device list.
    pub(crate) fn device_list(&self) -> DeviceList {
        self.read_devices().list.clone()
    }

    /// Adds a linked device and signs the new list.
    pub(crate) fn add_device(&self, device: Arc<Device>) -> Result<()> {
        self.write_devices().all.insert(device.id, device);
        self.touch();
        self.sign_device_list()
    }

    /// Takes a device off and signs the new list.
    pub(crate) fn remove_device(&self, id: u16) -> Result<Arc<Device>> {
        if id == PHONE {
            return Err(SandboxError::invalid("device 0 is the phone itself"));
        }
        let gone = self.write_devices().all.remove(&id);
        let gone = gone.ok_or_else(|| SandboxError::not_found("no such device"))?;
        self.touch();
        self.sign_device_list()?;
        Ok(gone)
    }

    /// Refuses one more companion than allowed.
    pub(crate) fn check_room(&self, limits: &Limits) -> Result<()> {
        // The phone is one of them.
        if self.read_devices().all.len() > limits.devices_per_account {
            return Err(SandboxError::new(Code::Full, "the account has no room for another device"));
        }
        Ok(())
    }

    fn sign_device_list(&self) -> Result<()> {
        let (signed, timestamp, indexes) = {
            let mut phone = self.handset();
            let signed = phone.signed_key_index_list().map_err(SandboxError::bug)?;
            let indexes: BTreeMap<u16, u32> =
                phone.linked_devices().into_iter().map(|d| (d.device, d.key_index)).collect();
            (signed, phone.key_index_ts(), indexes)
        };
        let mut devices = self.write_devices();
        let ids: Vec<(u16, u32)> =
            devices.all.keys().map(|id| (*id, indexes.get(id).copied().unwrap_or(0))).collect();
        let mut digest = Sha256::new();
        for (id, index) in &ids {
            digest.update(id.to_be_bytes());
            digest.update(index.to_be_bytes());
        }
        let digest: [u8; 32] = digest.finalize().into();
        let hash = format!("1:{}", BASE64_STANDARD_NO_PAD.encode(&digest[..6]));
        devices.list = DeviceList { devices: ids, signed, timestamp, hash };
        Ok(())
    }

    /// Whether the two accounts ever spoke to each other, as far as their phones remember.
    pub(crate) fn has_spoken_with(&self, other: &Self) -> bool {
        let heard = |one: &Self, from: &Self| lock(&one.inbox).knows(&from.phone, &from.lid);
        heard(self, other) || heard(other, self)
    }

    /// Marks the account as different from what is on disk.
    pub(crate) fn touch(&self) {
        self.dirty.store(true, Ordering::Release);
    }

    /// Whether it was touched since the last call.
    pub(crate) fn take_dirty(&self) -> bool {
        self.dirty.swap(false, Ordering::AcqRel)
    }

    fn read_devices(&self) -> std::sync::RwLockReadGuard<'_, Devices> {
        self.devices.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_devices(&self) -> std::sync::RwLockWriteGuard<'_, Devices> {
        self.devices.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a lock. A panic elsewhere does not make the data of a sandbox untrustworthy enough to stop it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
