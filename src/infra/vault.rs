//! Encryption of stored credentials.
//!
//! What it promises: a value opens only for the session, family and name it was sealed for, and only unchanged.
//! Every session has its own key, derived from the master key, so that random nonces stay far below AES-GCM's bound
//! (2³² values per key) however many sessions one installation holds.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::domain::error::{Error, Kind, Result};
use crate::domain::ids::SessionId;
use crate::infra::private_file;

/// The first byte of every sealed value: another layout will have another number.
const LAYOUT: u8 = 1;
const NONCE: usize = 12;

/// Holds the master key.
pub struct Vault {
    master: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(..)")
    }
}

/// Seals and opens the values of one session.
pub struct SessionVault {
    session: SessionId,
    cipher: Aes256Gcm,
}

impl fmt::Debug for SessionVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionVault({})", self.session)
    }
}

impl Vault {
    /// A vault under this key.
    #[must_use]
    pub fn new(master: &[u8; 32]) -> Self {
        Self { master: Zeroizing::new(*master) }
    }

    /// A vault under the key in this file; a missing file is made, with a fresh key, readable by its owner alone.
    ///
    /// # Errors
    /// `Unavailable`: the file cannot be read or made, or holds no key.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        let broken =
            |error: std::io::Error| Error::unavailable("encryption_key", format!("the key file: {error}"));
        match std::fs::read_to_string(path) {
            Ok(text) => Self::from_hex(text.trim()),
            Err(missing) if missing.kind() == ErrorKind::NotFound => {
                let master = Zeroizing::new(rand::random::<[u8; 32]>());
                let text: Zeroizing<String> =
                    Zeroizing::new(master.iter().map(|byte| format!("{byte:02x}")).collect());
                private_file::create(path, &text).map_err(broken)?;
                Ok(Self { master })
            }
            Err(other) => Err(broken(other)),
        }
    }

    fn from_hex(text: &str) -> Result<Self> {
        let refused = || Error::unavailable("encryption_key", "the key file does not hold 64 hex digits");
        let mut master = Zeroizing::new([0_u8; 32]);
        if text.len() != 64 || !text.is_ascii() {
            return Err(refused());
        }
        for (byte, digits) in master.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_split| refused())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_digit| refused())?;
        }
        Ok(Self { master })
    }

    /// A key for something else, that tells nothing of the master key: all who have that have this.
    ///
    /// # Errors
    /// `Bug`: the key has a length that the derivation cannot have.
    pub fn key_for(&self, purpose: &str) -> Result<Zeroizing<[u8; 32]>> {
        let mut derive = <Hmac<Sha256> as KeyInit>::new_from_slice(&*self.master).map_err(Error::bug)?;
        derive.update(purpose.as_bytes());
        Ok(Zeroizing::new(derive.finalize().into_bytes().into()))
    }

    /// The vault of the keys that access tokens are signed with: that of a session that cannot be.
    ///
    /// # Errors
    /// As for [`Vault::session`].
    pub fn signing_keys(&self) -> Result<SessionVault> {
        self.session(SessionId(uuid::Uuid::max()))
    }

    /// The vault of one session.
    ///
    /// # Errors
    /// `Bug`: the key has a length that the cipher cannot have.
    pub fn session(&self, session: SessionId) -> Result<SessionVault> {
        let mut derive = <Hmac<Sha256> as KeyInit>::new_from_slice(&*self.master).map_err(Error::bug)?;
        derive.update(b"recado session credentials v1");
        derive.update(session.0.as_bytes());
        let mut key: [u8; 32] = derive.finalize().into_bytes().into();
        let cipher = Aes256Gcm::new_from_slice(&key).map_err(Error::bug);
        key.zeroize();
        Ok(SessionVault { session, cipher: cipher? })
    }
}

impl SessionVault {
    /// Encrypts a value under a fresh nonce.
    ///
    /// # Errors
    /// `Bug`: the value is longer than the cipher takes (64 GiB).
    pub fn seal(&self, kind: &str, key: &str, plain: &[u8]) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE] = rand::random();
        let aad = self.bound_to(kind, key);
        let payload = Payload { msg: plain, aad: &aad };
        let sealed = self.cipher.encrypt(&Nonce::from(nonce), payload).map_err(Error::bug)?;
        let mut out = Vec::with_capacity(1 + NONCE + sealed.len());
        out.push(LAYOUT);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// Decrypts a value sealed for the same session, family and name.
    ///
    /// # Errors
    /// `Unavailable`: another key, another place, or a damaged value. It can be mended by the right key only.
    pub fn open(&self, kind: &str, key: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let refused = || {
            let message =
                "a stored credential does not open: is the encryption key the one it was stored with?";
            Error::new(Kind::Unavailable, "credential_unreadable", message)
        };
        let (layout, rest) = sealed.split_first().ok_or_else(refused)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE>().ok_or_else(refused)?;
        if *layout != LAYOUT {
            return Err(refused());
        }
        let aad = self.bound_to(kind, key);
        let payload = Payload { msg: body, aad: &aad };
        self.cipher.decrypt(&Nonce::from(*nonce), payload).map_err(|_opaque| refused())
    }

    fn bound_to(&self, kind: &str, key: &str) -> Vec<u8> {
        let mut aad = Vec::with_capacity(16 + kind.len() + 1 + key.len());
        aad.extend_from_slice(self.session.0.as_bytes());
        aad.extend_from_slice(kind.as_bytes());
        aad.push(0);
        aad.extend_from_slice(key.as_bytes());
        aad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_only_where_it_was_sealed() {
        let vault = Vault::new(&[7; 32]);
        let (one, other) = (SessionId::new(), SessionId::new());
        let sealed = vault.session(one).unwrap().seal("session", "a", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_eq!(vault.session(one).unwrap().open("session", "a", &sealed).unwrap(), b"secret");
        assert!(vault.session(one).unwrap().open("session", "b", &sealed).is_err());
        assert!(vault.session(one).unwrap().open("prekey", "a", &sealed).is_err());
        assert!(vault.session(other).unwrap().open("session", "a", &sealed).is_err());
        assert!(Vault::new(&[8; 32]).session(one).unwrap().open("session", "a", &sealed).is_err());
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let vault = Vault::new(&[7; 32]).session(SessionId::new()).unwrap();
        let sealed = vault.seal("k", "n", b"value").unwrap();
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(vault.open("k", "n", &bad).is_err(), "byte {at}");
            assert!(vault.open("k", "n", &sealed[..at]).is_err(), "cut {at}");
        }
    }

    #[test]
    fn the_same_value_never_looks_the_same_twice() {
        let vault = Vault::new(&[7; 32]).session(SessionId::new()).unwrap();
        assert_ne!(vault.seal("k", "n", b"value").unwrap(), vault.seal("k", "n", b"value").unwrap());
    }
}
