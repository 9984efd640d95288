//! The account's settings that all its devices share ("app state"). Promises patches that a companion accepts with all
//! MACs checked, in gapless versions per collection, and the key to read them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::appstate::hash::{HashState, generate_patch_mac};
use whatsapp_rust::wacore::appstate::{
    AppStateError, ExpandedAppStateKeys, encode_record, expand_app_state_keys, process_patch,
};
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::waproto::whatsapp::message::AppStateSyncKeyId;
use whatsapp_rust::waproto::whatsapp::syncd_mutation::SyncdOperation;

use super::error::PhoneError;

/// The collection that a companion needs before it calls itself connected.
pub const CRITICAL_BLOCK: &str = "critical_block";
/// Entries of a collection whose MACs are kept.
const MAX_ENTRIES: usize = 65_536;

/// One patch for the server's store, opaque to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionPatch {
    /// Name of the collection.
    pub collection: String,
    /// The version it makes.
    pub version: u64,
    /// `SyncdPatch` bytes, the content of `<patch>`.
    pub patch: Vec<u8>,
}

/// One setting to write.
pub(super) struct Change {
    pub(super) index: &'static str,
    pub(super) version: i32,
    pub(super) value: wa::SyncActionValue,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Collection {
    state: HashState,
    /// Value MAC by index MAC (base64).
    entries: HashMap<String, Vec<u8>>,
}

impl Collection {
    fn previous(&self, index_mac: &[u8]) -> Option<Vec<u8>> {
        self.entries.get(&BASE64_STANDARD_NO_PAD.encode(index_mac)).cloned()
    }

    fn remember(&mut self, index_mac: &[u8], value_mac: &[u8]) {
        if self.entries.len() < MAX_ENTRIES {
            self.entries.insert(BASE64_STANDARD_NO_PAD.encode(index_mac), value_mac.to_vec());
        }
    }
}

/// Key and collections of an account.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct AppState {
    key_id: Vec<u8>,
    key: [u8; 32],
    raw_id: u32,
    created_at: u64,
    collections: BTreeMap<String, Collection>,
}

impl AppState {
    pub(super) fn new(now: u64, rng: &mut StdRng) -> Self {
        // Device 0 and epoch 1: how a primary numbers its keys.
        Self {
            key_id: vec![0, 0, 0, 0, 0, 1],
            key: rng.random(),
            raw_id: rng.random(),
            created_at: now,
            collections: BTreeMap::new(),
        }
    }

    /// The key as it is shared with a companion.
    fn shared_key(&self) -> wa::message::AppStateSyncKey {
        let fingerprint = wa::message::AppStateSyncKeyFingerprint {
            raw_id: Some(self.raw_id),
            current_index: Some(0),
            device_indexes: vec![0],
        };
        let data = wa::message::AppStateSyncKeyData {
            key_data: Some(self.key.to_vec()),
            fingerprint: MessageField::some(fingerprint),
            timestamp: Some(i64::try_from(self.created_at.saturating_mul(1_000)).unwrap_or(i64::MAX)),
        };
        wa::message::AppStateSyncKey {
            key_id: MessageField::some(AppStateSyncKeyId { key_id: Some(self.key_id.clone()) }),
            key_data: MessageField::some(data),
        }
    }

    pub(super) fn share(&self) -> wa::message::AppStateSyncKeyShare {
        wa::message::AppStateSyncKeyShare { keys: vec![self.shared_key()] }
    }

    /// The answer to a request: every asked key, without data when we never had it.
    pub(super) fn answer(&self, asked: &[AppStateSyncKeyId]) -> wa::message::AppStateSyncKeyShare {
        let one = |id: &AppStateSyncKeyId| {
            if id.key_id.as_ref() == Some(&self.key_id) {
                return self.shared_key();
            }
            wa::message::AppStateSyncKey {
                key_id: MessageField::some(id.clone()),
                key_data: MessageField::default(),
            }
        };
        wa::message::AppStateSyncKeyShare { keys: asked.iter().take(32).map(one).collect() }
    }

    pub(super) fn version(&self, collection: &str) -> u64 {
        self.collections.get(collection).map_or(0, |one| one.state.version)
    }

    /// Writes changes as the next patch of a collection.
    pub(super) fn write(
        &mut self,
        name: &str,
        changes: &[Change],
        rng: &mut StdRng,
    ) -> Result<CollectionPatch, PhoneError> {
        let keys = expand_app_state_keys(&self.key);
        let collection = self.collections.entry(name.to_owned()).or_default();
        let mut mutations = Vec::with_capacity(changes.len());
        for change in changes {
            let index = format!("[\"{}\"]", change.index);
            let (mutation, _mac) = encode_record(
                SyncdOperation::SET,
                index.as_bytes(),
                &change.value,
                &keys,
                &self.key_id,
                &rng.random(),
                change.version,
            );
            mutations.push(mutation);
        }
        let mut state = collection.state.clone();
        state.version += 1;
        let (_, hashed) = state.update_hash(&mutations, |index, _| Ok(collection.previous(index)));
        hashed.map_err(|_bad| PhoneError::Crypto("app state hash"))?;
        let patch = signed_patch(name, mutations, &state, &self.key_id, &keys);
        for mutation in &patch.mutations {
            if let Some((index, value)) = macs(mutation) {
                collection.remember(index, value);
            }
        }
        collection.state = state;
        Ok(CollectionPatch {
            collection: name.to_owned(),
            version: collection.state.version,
            patch: patch.encode_to_vec(),
        })
    }

    /// Follows a patch that another device of the account wrote; gives the push name if that is what changed.
    pub(super) fn follow(&mut self, name: &str, patch: &[u8]) -> Result<Option<String>, PhoneError> {
        let patch = wa::SyncdPatch::decode_from_slice(patch)
            .map_err(|_bad| PhoneError::Undecodable("app state patch"))?;
        let keys = Arc::new(expand_app_state_keys(&self.key));
        let collection = self.collections.entry(name.to_owned()).or_default();
        let mut state = collection.state.clone();
        let key_of = |id: &[u8]| {
            if id == self.key_id { Ok(Arc::clone(&keys)) } else { Err(AppStateError::KeyNotFound) }
        };
        let previous = |index: &[u8]| Ok(collection.previous(index));
        let done = process_patch(&patch, &mut state, key_of, previous, true, name)
            .map_err(|_bad| PhoneError::Crypto("app state patch"))?;
        for gone in &done.removed_index_macs {
            collection.entries.remove(&BASE64_STANDARD_NO_PAD.encode(gone));
        }
        for added in &done.added_macs {
            collection.remember(&added.index_mac, &added.value_mac);
        }
        collection.state = state;
        let named =
            done.mutations.iter().rev().find_map(|mutation| {
                mutation.action_value.as_ref()?.push_name_setting.as_option()?.name.clone()
            });
        Ok(named)
    }
}

/// Index MAC and value MAC of a mutation.
fn macs(mutation: &wa::SyncdMutation) -> Option<(&[u8], &[u8])> {
    let record = mutation.record.as_option()?;
    let index = record.index.as_option()?.blob.as_deref()?;
    let value = record.value.as_option()?.blob.as_deref()?;
    Some((index, value.get(value.len().checked_sub(32)?..)?))
}

fn signed_patch(
    name: &str,
    mutations: Vec<wa::SyncdMutation>,
    state: &HashState,
    key_id: &[u8],
    keys: &ExpandedAppStateKeys,
) -> wa::SyncdPatch {
    let mut patch = wa::SyncdPatch {
        version: MessageField::some(wa::SyncdVersion { version: Some(state.version) }),
        mutations,
        snapshot_mac: Some(state.generate_snapshot_mac(name, &keys.snapshot_mac)),
        key_id: MessageField::some(wa::KeyId { id: Some(key_id.to_vec()) }),
        device_index: Some(0),
        ..Default::default()
    };
    patch.patch_mac = Some(generate_patch_mac(&patch, name, &keys.patch_mac, state.version));
    patch
}

/// The push name as a change.
pub(super) fn push_name(name: &str, now: u64) -> Change {
    let setting = wa::sync_action_value::PushNameSetting { name: Some(name.to_owned()) };
    let mut value = stamped(now);
    value.push_name_setting = MessageField::some(setting);
    Change { index: "setting_pushName", version: 1, value }
}

/// The language as a change.
pub(super) fn locale(locale: &str, now: u64) -> Change {
    let setting = wa::sync_action_value::LocaleSetting { locale: Some(locale.to_owned()) };
    let mut value = stamped(now);
    value.locale_setting = MessageField::some(setting);
    Change { index: "setting_locale", version: 3, value }
}

fn stamped(now: u64) -> wa::SyncActionValue {
    let milliseconds = i64::try_from(now.saturating_mul(1_000)).unwrap_or(i64::MAX);
    wa::SyncActionValue { timestamp: Some(milliseconds), ..Default::default() }
}
