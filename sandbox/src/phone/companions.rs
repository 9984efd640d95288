//! The devices linked to an account, as its phone keeps them. Promises that every companion is signed by the account
//! key, that key indexes only rise, and that a removed companion is gone from the signed list at once.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore::adv::{AdvValidation, validate_adv_with_identity_key};
use whatsapp_rust::wacore::libsignal::crypto::hmac_sha256;
use whatsapp_rust::waproto::whatsapp as wa;

use super::error::PhoneError;
use super::vault::Vault;

/// Companions per account. WhatsApp allows four; a sandbox account is often shared by several tests.
pub const MAX_COMPANIONS: usize = 16;
/// 99 means a hosted device, 0 the phone.
const LAST_DEVICE: u16 = 98;

const ACCOUNT_SIGNATURE: &[u8] = &[6, 0];
const KEY_LIST_SIGNATURE: &[u8] = &[6, 2];

/// What goes to a companion that was scanned, and what the server must remember until it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkOffer {
    /// Its device id.
    pub device: u16,
    /// Its place in the account's key list.
    pub key_index: u32,
    /// `<device-identity>` of `<pair-success>` (`ADVSignedDeviceIdentityHMAC`).
    pub container: Vec<u8>,
    /// The identity key that was signed.
    pub companion_identity: [u8; 32],
}

/// A companion that is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkedDevice {
    /// Its device id.
    pub device: u16,
    /// Its place in the account's key list.
    pub key_index: u32,
    /// Unix seconds.
    pub linked_at: u64,
    identity: [u8; 32],
}

#[derive(Clone, Serialize, Deserialize)]
struct Offered {
    key_index: u32,
    identity: [u8; 32],
}

/// Linked and offered companions.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Companions {
    raw_id: u32,
    last_index: u32,
    last_device: u16,
    changed_at: u64,
    offered: BTreeMap<u16, Offered>,
    linked: BTreeMap<u16, LinkedDevice>,
    #[serde(skip)]
    signed_list: Option<Vec<u8>>,
}

impl Companions {
    pub(super) fn new(now: u64, rng: &mut StdRng) -> Self {
        Self {
            raw_id: rng.random(),
            last_index: 0,
            last_device: 0,
            changed_at: now,
            offered: BTreeMap::new(),
            linked: BTreeMap::new(),
            signed_list: None,
        }
    }

    pub(super) fn linked(&self) -> impl Iterator<Item = &LinkedDevice> {
        self.linked.values()
    }

    pub(super) fn changed_at(&self) -> u64 {
        self.changed_at
    }

    /// Signs a companion and waits for its own signature.
    pub(super) fn offer(
        &mut self,
        identity: [u8; 32],
        adv_secret: &[u8; 32],
        vault: &mut Vault,
        now: u64,
    ) -> Result<LinkOffer, PhoneError> {
        if self.linked.len() >= MAX_COMPANIONS {
            return Err(PhoneError::TooManyDevices);
        }
        if self.offered.len() >= MAX_COMPANIONS {
            self.offered.pop_first();
        }
        let device = self.next_device().ok_or(PhoneError::TooManyDevices)?;
        let key_index = self.last_index + 1;
        let details = wa::ADVDeviceIdentity {
            raw_id: Some(self.raw_id),
            timestamp: Some(now),
            key_index: Some(key_index),
            account_type: Some(wa::ADVEncryptionType::E2EE),
            device_type: Some(wa::ADVEncryptionType::E2EE),
        }
        .encode_to_vec();
        let signature = vault.sign(&[ACCOUNT_SIGNATURE, &details, &identity].concat())?;
        let signed = wa::ADVSignedDeviceIdentity {
            details: Some(details),
            account_signature_key: Some(vault.identity_public().to_vec()),
            account_signature: Some(signature.to_vec()),
            device_signature: None,
        }
        .encode_to_vec();
        let container = wa::ADVSignedDeviceIdentityHMAC {
            hmac: Some(hmac_sha256(adv_secret, &signed).to_vec()),
            details: Some(signed),
            account_type: Some(wa::ADVEncryptionType::E2EE),
        }
        .encode_to_vec();
        self.last_index = key_index;
        self.last_device = device;
        self.offered.insert(device, Offered { key_index, identity });
        Ok(LinkOffer { device, key_index, container, companion_identity: identity })
    }

    /// Device ids rise, so that an unlinked companion's id (and the sessions others have with it) is not reused soon.
    fn next_device(&self) -> Option<u16> {
        let free = |id: &u16| !self.linked.contains_key(id) && !self.offered.contains_key(id);
        (self.last_device + 1..=LAST_DEVICE).chain(1..=self.last_device).find(free)
    }

    /// Takes the companion's answer to an offer.
    pub(super) fn complete(
        &mut self,
        device: u16,
        blob: &[u8],
        account: &[u8; 32],
        now: u64,
    ) -> Result<(), PhoneError> {
        let offered = self.offered.get(&device).ok_or(PhoneError::UnknownDevice(device))?;
        let answer = wa::ADVSignedDeviceIdentity::decode_from_slice(blob)
            .map_err(|_bad| PhoneError::DeviceIdentity("undecodable"))?;
        if answer.account_signature_key.as_deref().is_some_and(|key| !key.is_empty() && key != account) {
            return Err(PhoneError::DeviceIdentity("signed by another account"));
        }
        let index = wa::ADVDeviceIdentity::decode_from_slice(answer.details.as_deref().unwrap_or_default())
            .map_err(|_bad| PhoneError::DeviceIdentity("undecodable details"))?
            .key_index;
        if index != Some(offered.key_index) {
            return Err(PhoneError::DeviceIdentity("another key index than offered"));
        }
        if validate_adv_with_identity_key(blob, &offered.identity, Some(account)) != AdvValidation::Valid {
            return Err(PhoneError::DeviceIdentity("a signature does not verify"));
        }
        let companion =
            LinkedDevice { device, key_index: offered.key_index, linked_at: now, identity: offered.identity };
        self.offered.remove(&device);
        self.linked.insert(device, companion);
        self.touch(now);
        Ok(())
    }

    pub(super) fn abandon(&mut self, device: u16) {
        self.offered.remove(&device);
    }

    pub(super) fn unlink(&mut self, device: u16, now: u64) -> bool {
        let was_linked = self.linked.remove(&device).is_some();
        if was_linked {
            self.touch(now);
        }
        was_linked
    }

    fn touch(&mut self, now: u64) {
        // The list is ordered by its timestamp, so two changes within a second still need two values.
        self.changed_at = now.max(self.changed_at + 1);
        self.signed_list = None;
    }

    /// `ADVSignedKeyIndexList`, signed once per change.
    pub(super) fn signed_list(&mut self, vault: &mut Vault) -> Result<Vec<u8>, PhoneError> {
        if let Some(list) = &self.signed_list {
            return Ok(list.clone());
        }
        let details = wa::ADVKeyIndexList {
            raw_id: Some(self.raw_id),
            timestamp: Some(self.changed_at),
            current_index: Some(self.last_index),
            valid_indexes: std::iter::once(0).chain(self.linked().map(|one| one.key_index)).collect(),
            account_type: Some(wa::ADVEncryptionType::E2EE),
        }
        .encode_to_vec();
        let signature = vault.sign(&[KEY_LIST_SIGNATURE, &details].concat())?;
        let list = wa::ADVSignedKeyIndexList {
            details: Some(details),
            account_signature: Some(signature.to_vec()),
            account_signature_key: Some(vault.identity_public().to_vec()),
        }
        .encode_to_vec();
        self.signed_list = Some(list.clone());
        Ok(list)
    }
}
