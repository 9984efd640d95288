//! A phone's keys and Signal sessions. Promises that encrypting and decrypting never wait (all is in memory, so every
//! future of the Signal library is ready at once), that a record is never re-serialised between messages, and that a
//! snapshot continues exactly where the phone stood.

mod cipher;
mod frozen;
mod groups;
mod prekeys;
mod sessions;

pub(super) use cipher::Cipher;
pub(super) use frozen::FrozenVault;

use groups::SenderKeys;
use prekeys::{Identity, PreKeys, SignedPreKeys};
use rand::rngs::StdRng;
use sessions::Sessions;
use whatsapp_rust::wacore::libsignal::protocol::{IdentityKeyPair, ProtocolAddress, PublicKey};

use super::directory::{OneTimePreKey, SignedPreKey};
use super::error::PhoneError;

/// Keys, sessions and randomness of one phone.
pub(super) struct Vault {
    identity: Identity,
    sessions: Sessions,
    sender_keys: SenderKeys,
    prekeys: PreKeys,
    signed: SignedPreKeys,
    pub(super) rng: StdRng,
}

impl Vault {
    pub(super) fn generate() -> Result<Self, PhoneError> {
        let mut rng: StdRng = rand::make_rng();
        let identity = Identity::generate(&mut rng);
        let signed = SignedPreKeys::generate(identity.pair(), &mut rng)?;
        Ok(Self {
            identity,
            sessions: Sessions::default(),
            sender_keys: SenderKeys::default(),
            prekeys: PreKeys::default(),
            signed,
            rng,
        })
    }

    pub(super) fn identity(&self) -> &IdentityKeyPair {
        self.identity.pair()
    }

    pub(super) fn identity_public(&self) -> [u8; 32] {
        raw(self.identity.pair().public_key())
    }

    pub(super) fn registration_id(&self) -> u32 {
        self.identity.registration_id()
    }

    pub(super) fn signed_prekey(&self) -> SignedPreKey {
        self.signed.public()
    }

    pub(super) fn mint_prekeys(&mut self, count: u16) -> Vec<OneTimePreKey> {
        (0..count).map(|_| self.prekeys.mint(&mut self.rng)).collect()
    }

    pub(super) fn has_session(&self, peer: &ProtocolAddress) -> bool {
        self.sessions.contains(peer)
    }

    pub(super) fn forget(&mut self, peer: &ProtocolAddress) {
        self.sessions.remove(peer);
    }

    pub(super) fn forget_all(&mut self) {
        self.sessions = Sessions::default();
        self.sender_keys = SenderKeys::default();
    }

    /// Signs for the account (`XEdDSA` with the identity key).
    pub(super) fn sign(&mut self, message: &[u8]) -> Result<[u8; 64], PhoneError> {
        Ok(self.identity.pair().private_key().calculate_signature(message, &mut self.rng)?)
    }
}

/// The 32 raw bytes of a public key.
pub(super) fn raw(key: &PublicKey) -> [u8; 32] {
    let mut out = [0; 32];
    let bytes = key.public_key_bytes();
    let take = bytes.len().min(out.len());
    out[..take].copy_from_slice(&bytes[..take]);
    out
}
