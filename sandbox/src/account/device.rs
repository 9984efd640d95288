//! One device of an account: its keys for others, its mailbox, and what it confirmed.

use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use super::lock;
use super::mailbox::Mailbox;
use crate::config::Limits;
use crate::phone::{OneTimePreKey, PeerBundle, SignedPreKey};

/// A client is told to upload more once its stock falls to this.
const LOW: usize = 5;

/// Device 0 or a companion.
pub(crate) struct Device {
    pub(crate) id: u16,
    /// The Noise static key, which is how a companion is known at login. The phone has none.
    pub(crate) noise: Option<[u8; 32]>,
    pub(crate) identity: [u8; 32],
    /// `ADVSignedDeviceIdentity` with the companion's signature; others verify it in the bundle.
    pub(crate) device_identity: Option<Vec<u8>>,
    pub(crate) keys: Mutex<Keys>,
    pub(crate) mailbox: Mailbox,
    /// The phone has sent it the app-state key and so on.
    pub(crate) welcomed: AtomicBool,
    pub(crate) receipted: Mutex<Receipted>,
}

impl Device {
    pub(crate) fn new(id: u16, identity: [u8; 32], limits: &Limits) -> Self {
        Self {
            id,
            noise: None,
            identity,
            device_identity: None,
            keys: Mutex::new(Keys::default()),
            mailbox: Mailbox::new(limits),
            welcomed: AtomicBool::new(false),
            receipted: Mutex::new(Receipted::new(limits.receipted)),
        }
    }

    /// A bundle for a new Signal session. Takes a one-time key off the stock.
    pub(crate) fn bundle(&self) -> (Option<PeerBundle>, Stock) {
        let mut keys = lock(&self.keys);
        let Some(signed_prekey) = keys.signed.clone() else {
            return (None, Stock::Enough);
        };
        let prekey = keys.one_time.pop_front();
        let low = prekey.is_some() && keys.one_time.len() <= LOW && !keys.told_low;
        keys.told_low |= low;
        let stock = if low { Stock::Low(keys.one_time.len()) } else { Stock::Enough };
        let bundle = PeerBundle {
            registration_id: keys.registration_id,
            identity: self.identity,
            signed_prekey,
            prekey,
            device_identity: self.device_identity.clone(),
        };
        (Some(bundle), stock)
    }
}

/// Whether the owner should be told to upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stock {
    Enough,
    /// Told once per upload; how many are left.
    Low(usize),
}

/// Public keys a device has uploaded.
#[derive(Default, Clone, Serialize, Deserialize)]
pub(crate) struct Keys {
    pub(crate) registration_id: u32,
    pub(crate) signed: Option<SignedPreKey>,
    pub(crate) one_time: VecDeque<OneTimePreKey>,
    #[serde(default)]
    pub(crate) told_low: bool,
}

impl Keys {
    /// Adds uploaded keys, oldest first. An id that is in stock already is replaced where it stands.
    pub(crate) fn add(&mut self, fresh: impl IntoIterator<Item = OneTimePreKey>, limit: usize) {
        let mut known: HashSet<u32> = self.one_time.iter().map(|k| k.id).collect();
        for key in fresh {
            if known.insert(key.id) {
                if self.one_time.len() < limit {
                    self.one_time.push_back(key);
                }
            } else if let Some(old) = self.one_time.iter_mut().find(|k| k.id == key.id) {
                *old = key;
            }
        }
        self.told_low = false;
    }
}

/// Ids of messages for which a device sent a receipt, in order; the oldest are forgotten beyond the limit.
pub(crate) struct Receipted {
    ids: VecDeque<String>,
    forgotten: u64,
    limit: usize,
}

impl Receipted {
    fn new(limit: usize) -> Self {
        Self { ids: VecDeque::new(), forgotten: 0, limit }
    }

    pub(crate) fn push(&mut self, id: &str) {
        if self.ids.len() == self.limit {
            self.ids.pop_front();
            self.forgotten += 1;
        }
        self.ids.push_back(id.to_owned());
    }

    /// How many there ever were.
    pub(crate) fn total(&self) -> u64 {
        self.forgotten + self.ids.len() as u64
    }

    /// The page after position `after`, and the position after it.
    pub(crate) fn page(&self, after: u64, limit: usize) -> (u64, Vec<String>) {
        let start = after.max(self.forgotten);
        let skip = usize::try_from(start - self.forgotten).unwrap_or(usize::MAX);
        let ids: Vec<String> = self.ids.iter().skip(skip).take(limit).cloned().collect();
        (start + ids.len() as u64, ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32) -> OneTimePreKey {
        OneTimePreKey { id, public: [7; 32] }
    }

    fn device(keys: u32) -> Device {
        let device = Device::new(1, [1; 32], &Limits::default());
        let mut stock = lock(&device.keys);
        stock.signed = Some(SignedPreKey { id: 1, public: [2; 32], signature: vec![0; 64] });
        stock.add((1..=keys).map(key), 100);
        drop(stock);
        device
    }

    #[test]
    fn one_time_keys_are_handed_out_once_oldest_first_and_low_is_told_once() {
        let device = device(7);
        let mut seen = Vec::new();
        let mut told = Vec::new();
        for _ in 0..9 {
            let (bundle, stock) = device.bundle();
            seen.push(bundle.unwrap().prekey.map(|k| k.id));
            told.push(stock);
        }
        assert_eq!(seen, [Some(1), Some(2), Some(3), Some(4), Some(5), Some(6), Some(7), None, None]);
        assert_eq!(told.iter().filter(|s| **s != Stock::Enough).collect::<Vec<_>>(), [&Stock::Low(5)]);
    }

    #[test]
    fn uploading_an_id_again_does_not_double_it_and_the_stock_is_bounded() {
        let mut keys = Keys::default();
        keys.add([key(1), key(2), key(1)], 3);
        keys.add((2..10).map(key), 3);
        assert_eq!(keys.one_time.iter().map(|k| k.id).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn receipted_ids_page_by_absolute_position_even_when_old_ones_are_forgotten() {
        let mut receipted = Receipted::new(3);
        (0..5).for_each(|i| receipted.push(&i.to_string()));
        assert_eq!(receipted.page(0, 10), (5, vec!["2".into(), "3".into(), "4".into()]));
        assert_eq!(receipted.page(0, 2), (4, vec!["2".into(), "3".into()]));
        assert_eq!(receipted.page(4, 10), (5, vec!["4".into()]));
        assert_eq!(receipted.page(5, 10), (5, vec![]));
        assert_eq!(receipted.total(), 5);
    }
}
