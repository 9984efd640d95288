//! Identity, signed prekey and one-time prekeys of a phone. Promises that an id is never given out twice and that at
//! most [`MAX_PREKEYS`] unused private keys are kept (the oldest go first).

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::StdRng;
use whatsapp_rust::async_trait;
use whatsapp_rust::wacore::libsignal::protocol::{
    Direction, GenericSignedPreKey, IdentityChange, IdentityKey, IdentityKeyPair, IdentityKeyStore, KeyPair,
    PreKeyId, PreKeyRecord, PreKeyStore, PrivateKey, ProtocolAddress, SignalProtocolError, SignedPreKeyId,
    SignedPreKeyRecord, SignedPreKeyStore, Timestamp,
};

use super::super::directory::{OneTimePreKey, SignedPreKey};
use super::super::error::PhoneError;
use super::raw;

/// Unused one-time prekeys whose private halves are kept.
const MAX_PREKEYS: usize = 4_096;
/// One-time prekey ids are three bytes on the wire.
const LAST_PREKEY_ID: u32 = 0x00ff_fffe;
/// The signed prekey is never rotated, so one id is enough.
const SIGNED_PREKEY_ID: u32 = 1;

/// The account's identity. Every peer's key is accepted, as WhatsApp does: a changed key is news, not an obstacle.
pub(super) struct Identity {
    pair: IdentityKeyPair,
    registration_id: u32,
}

impl Identity {
    pub(super) fn generate(rng: &mut StdRng) -> Self {
        Self { pair: IdentityKeyPair::generate(rng), registration_id: rng.random_range(1..0x3fff) }
    }

    pub(super) fn from_parts(private: &[u8], registration_id: u32) -> Result<Self, PhoneError> {
        let pair = IdentityKeyPair::try_from(PrivateKey::deserialize(private)?)?;
        Ok(Self { pair, registration_id })
    }

    pub(super) fn pair(&self) -> &IdentityKeyPair {
        &self.pair
    }

    pub(super) fn registration_id(&self) -> u32 {
        self.registration_id
    }
}

#[async_trait]
impl IdentityKeyStore for Identity {
    async fn get_identity_key_pair(&self) -> Result<IdentityKeyPair, SignalProtocolError> {
        Ok(self.pair.clone())
    }

    async fn get_local_registration_id(&self) -> Result<u32, SignalProtocolError> {
        Ok(self.registration_id)
    }

    async fn save_identity(
        &mut self,
        _address: &ProtocolAddress,
        _identity: &IdentityKey,
    ) -> Result<IdentityChange, SignalProtocolError> {
        Ok(IdentityChange::NewOrUnchanged)
    }

    fn try_save_identity(
        &mut self,
        _address: &ProtocolAddress,
        _identity: &IdentityKey,
    ) -> Option<Result<IdentityChange, SignalProtocolError>> {
        Some(Ok(IdentityChange::NewOrUnchanged))
    }

    async fn is_trusted_identity(
        &self,
        _address: &ProtocolAddress,
        _identity: &IdentityKey,
        _direction: Direction,
    ) -> Result<bool, SignalProtocolError> {
        Ok(true)
    }

    fn try_is_trusted_identity(
        &self,
        _address: &ProtocolAddress,
        _identity: &IdentityKey,
        _direction: Direction,
    ) -> Option<Result<bool, SignalProtocolError>> {
        Some(Ok(true))
    }

    async fn get_identity(
        &self,
        _address: &ProtocolAddress,
    ) -> Result<Option<IdentityKey>, SignalProtocolError> {
        Ok(None)
    }
}

/// One-time prekeys that were published and not used yet.
#[derive(Default)]
pub(super) struct PreKeys {
    unused: BTreeMap<u32, KeyPair>,
    last_id: u32,
}

impl PreKeys {
    pub(super) fn mint(&mut self, rng: &mut StdRng) -> OneTimePreKey {
        self.last_id = if self.last_id >= LAST_PREKEY_ID { 1 } else { self.last_id + 1 };
        let pair = KeyPair::generate(rng);
        let public = raw(&pair.public_key);
        self.unused.insert(self.last_id, pair);
        if self.unused.len() > MAX_PREKEYS {
            self.unused.pop_first();
        }
        OneTimePreKey { id: self.last_id, public }
    }

    pub(super) fn consume(&mut self, id: u32) {
        self.unused.remove(&id);
    }

    pub(super) fn freeze(&self) -> (u32, Vec<(u32, Vec<u8>)>) {
        let keys = self.unused.iter().map(|(id, pair)| (*id, pair.private_key.serialize().to_vec()));
        (self.last_id, keys.collect())
    }

    pub(super) fn thaw(last_id: u32, keys: &[(u32, Vec<u8>)]) -> Result<Self, PhoneError> {
        let mut unused = BTreeMap::new();
        for (id, private) in keys {
            unused.insert(*id, KeyPair::try_from(PrivateKey::deserialize(private)?)?);
        }
        Ok(Self { unused, last_id })
    }
}

#[async_trait]
impl PreKeyStore for PreKeys {
    async fn get_pre_key(&self, id: PreKeyId) -> Result<PreKeyRecord, SignalProtocolError> {
        let pair = self.unused.get(&id.into()).ok_or(SignalProtocolError::InvalidPreKeyId)?;
        Ok(PreKeyRecord::new(id, pair))
    }

    async fn save_pre_key(&mut self, id: PreKeyId, record: &PreKeyRecord) -> Result<(), SignalProtocolError> {
        self.unused.insert(id.into(), record.key_pair()?);
        Ok(())
    }

    async fn remove_pre_key(&mut self, id: PreKeyId) -> Result<(), SignalProtocolError> {
        self.consume(id.into());
        Ok(())
    }
}

/// The one signed prekey.
pub(super) struct SignedPreKeys {
    pair: KeyPair,
    signature: Vec<u8>,
}

impl SignedPreKeys {
    pub(super) fn generate(identity: &IdentityKeyPair, rng: &mut StdRng) -> Result<Self, PhoneError> {
        let pair = KeyPair::generate(rng);
        let signature =
            identity.private_key().calculate_signature(&pair.public_key.serialize(), rng)?.to_vec();
        Ok(Self { pair, signature })
    }

    pub(super) fn public(&self) -> SignedPreKey {
        SignedPreKey {
            id: SIGNED_PREKEY_ID,
            public: raw(&self.pair.public_key),
            signature: self.signature.clone(),
        }
    }

    pub(super) fn freeze(&self) -> (Vec<u8>, Vec<u8>) {
        (self.pair.private_key.serialize().to_vec(), self.signature.clone())
    }

    pub(super) fn thaw(private: &[u8], signature: &[u8]) -> Result<Self, PhoneError> {
        let pair = KeyPair::try_from(PrivateKey::deserialize(private)?)?;
        Ok(Self { pair, signature: signature.to_vec() })
    }
}

#[async_trait]
impl SignedPreKeyStore for SignedPreKeys {
    async fn get_signed_pre_key(
        &self,
        id: SignedPreKeyId,
    ) -> Result<SignedPreKeyRecord, SignalProtocolError> {
        if u32::from(id) != SIGNED_PREKEY_ID {
            return Err(SignalProtocolError::InvalidSignedPreKeyId);
        }
        Ok(SignedPreKeyRecord::new(id, Timestamp::from_epoch_millis(0), &self.pair, &self.signature))
    }

    async fn save_signed_pre_key(
        &mut self,
        _id: SignedPreKeyId,
        _record: &SignedPreKeyRecord,
    ) -> Result<(), SignalProtocolError> {
        Err(SignalProtocolError::InvalidSignedPreKeyId)
    }
}
