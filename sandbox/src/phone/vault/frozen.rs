//! The vault as data. Promises that thawing gives back the same keys and the same sessions, counter for counter.

use serde::{Deserialize, Serialize};

use super::super::base64_serde as b64;
use super::super::error::PhoneError;
use super::Vault;
use super::groups::SenderKeys;
use super::prekeys::{Identity, PreKeys, SignedPreKeys};
use super::sessions::Sessions;

#[derive(Clone, Serialize, Deserialize)]
struct Named<N> {
    name: N,
    #[serde(with = "b64")]
    bytes: Vec<u8>,
}

/// Everything secret of a phone; it is what a stored sandbox consists of, so it is never printed.
#[derive(Clone, Serialize, Deserialize)]
pub(in super::super) struct FrozenVault {
    #[serde(with = "b64")]
    identity: Vec<u8>,
    registration_id: u32,
    #[serde(with = "b64")]
    signed_prekey: Vec<u8>,
    #[serde(with = "b64")]
    signature: Vec<u8>,
    last_prekey_id: u32,
    prekeys: Vec<Named<u32>>,
    sessions: Vec<Named<String>>,
    sender_keys: Vec<Named<String>>,
}

fn name<N>((name, bytes): (N, Vec<u8>)) -> Named<N> {
    Named { name, bytes }
}

impl Vault {
    pub(in super::super) fn freeze(&self) -> Result<FrozenVault, PhoneError> {
        let (signed_prekey, signature) = self.signed.freeze();
        let (last_prekey_id, prekeys) = self.prekeys.freeze();
        Ok(FrozenVault {
            identity: self.identity.pair().private_key().serialize().to_vec(),
            registration_id: self.identity.registration_id(),
            signed_prekey,
            signature,
            last_prekey_id,
            prekeys: prekeys.into_iter().map(name).collect(),
            sessions: self.sessions.freeze()?.into_iter().map(name).collect(),
            sender_keys: self.sender_keys.freeze()?.into_iter().map(name).collect(),
        })
    }

    pub(in super::super) fn thaw(frozen: FrozenVault) -> Result<Self, PhoneError> {
        let prekeys: Vec<_> = frozen.prekeys.into_iter().map(|key| (key.name, key.bytes)).collect();
        let sessions: Vec<_> = frozen.sessions.into_iter().map(|one| (one.name, one.bytes)).collect();
        let sender_keys: Vec<_> = frozen.sender_keys.into_iter().map(|one| (one.name, one.bytes)).collect();
        Ok(Self {
            identity: Identity::from_parts(&frozen.identity, frozen.registration_id)?,
            sessions: Sessions::thaw(&sessions)?,
            sender_keys: SenderKeys::thaw(&sender_keys)?,
            prekeys: PreKeys::thaw(frozen.last_prekey_id, &prekeys)?,
            signed: SignedPreKeys::thaw(&frozen.signed_prekey, &frozen.signature)?,
            rng: rand::make_rng(),
        })
    }
}
