//! Encryption at rest for a session's credentials: AES-256-GCM.
//!
//! Promises: what is sealed under one session, family and name opens under no other; whoever has the tables but not the
//! key learns sizes and names only; the key is wiped from memory when the vault goes, and is never shown.
//!
//! A sealed value is `1 ‖ nonce (12 bytes, random) ‖ ciphertext ‖ tag (16 bytes)`. Random nonces are safe for 2³² values
//! under one key.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zeroize::{Zeroize, Zeroizing};

use crate::domain::error::{Error, Result};
use crate::domain::ids::SessionId;

/// The shape of a sealed value.
const VERSION: u8 = 1;
const NONCE: usize = 12;
const TAG: usize = 16;
const KEY: usize = 32;

/// The longest key file read: hex, and a line's end.
const FILE_LIMIT: u64 = 256;

/// Seals and opens values.
pub struct Vault {
    key: Zeroizing<[u8; KEY]>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault { key: hidden }")
    }
}

impl Vault {
    /// A vault with the key given as 64 hex digits or as Base64 of 32 bytes.
    ///
    /// # Errors
    /// `Invalid` when it is neither.
    pub fn from_key(text: &str) -> Result<Self> {
        let text = text.trim();
        let mut bytes = hex(text)
            .or_else(|| STANDARD.decode(text).ok())
            .or_else(|| URL_SAFE_NO_PAD.decode(text).ok())
            .unwrap_or_default();
        let mut key = Zeroizing::new([0; KEY]);
        let fits = bytes.len() == KEY;
        if fits {
            key.copy_from_slice(&bytes);
        }
        bytes.zeroize();
        if fits { Ok(Self { key }) } else { Err(bad_key()) }
    }

    /// The vault whose key is in the file at `path`; a new random key, readable by its owner only, if there is none.
    ///
    /// # Errors
    /// `Unavailable` when the file cannot be read or made, `Invalid` when it holds no key.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        let unusable = |error: std::io::Error| {
            Error::unavailable("vault_key_unusable", format!("the vault's key file: {error}"))
        };
        match read(path) {
            Ok(text) => return Self::from_key(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => (),
            Err(error) => return Err(unusable(error)),
        }
        let vault = Self { key: Zeroizing::new(rand::random()) };
        match vault.write(path) {
            Ok(()) => Ok(vault),
            // Another process was faster: its key is the key.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Self::from_key(&read(path).map_err(unusable)?)
            }
            Err(error) => Err(unusable(error)),
        }
    }

    /// Written aside and linked into place: a crash leaves no half a key, and an existing key is never replaced.
    fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".{}", uuid::Uuid::now_v7()));
        let mut open = OpenOptions::new();
        open.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
        let mut file = open.open(&aside)?;
        let mut text = Zeroizing::new(String::with_capacity(2 * KEY + 1));
        for byte in self.key.iter() {
            text.push_str(&format!("{byte:02x}"));
        }
        text.push('\n');
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        let placed = written.and_then(|()| std::fs::hard_link(&aside, path));
        let removed = std::fs::remove_file(&aside);
        placed.and(removed)
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new((&*self.key).into())
    }

    /// Seals a value for one place.
    ///
    /// # Errors
    /// `Bug` when the value is too long for the cipher.
    pub fn seal(&self, session: SessionId, kind: &str, key: &str, plain: &[u8]) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE] = rand::random();
        let aad = place(session, kind, key);
        let payload = Payload { msg: plain, aad: &aad };
        let sealed = self.cipher().encrypt(&Nonce::from(nonce), payload);
        let sealed = sealed.map_err(|_opaque| Error::bug("a value could not be sealed"))?;
        let mut out = Vec::with_capacity(1 + NONCE + sealed.len());
        out.push(VERSION);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// Opens a value sealed for this place.
    ///
    /// # Errors
    /// `Unavailable` (`vault_cannot_open`) when it was sealed with another key or for another place, or was changed.
    pub fn open(&self, session: SessionId, kind: &str, key: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let cannot =
            || Error::unavailable("vault_cannot_open", "a stored credential does not open with this key");
        let (&version, rest) = sealed.split_first().ok_or_else(cannot)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE>().ok_or_else(cannot)?;
        if version != VERSION || text.len() < TAG {
            return Err(cannot());
        }
        let aad = place(session, kind, key);
        let payload = Payload { msg: text, aad: &aad };
        self.cipher().decrypt(&Nonce::from(*nonce), payload).map_err(|_opaque| cannot())
    }
}

/// The place a value belongs to, unambiguous: lengths come first.
fn place(session: SessionId, kind: &str, key: &str) -> Vec<u8> {
    let mut place = Vec::with_capacity(16 + 8 + kind.len() + key.len());
    place.extend_from_slice(session.0.as_bytes());
    place.extend_from_slice(&(kind.len() as u64).to_be_bytes());
    place.extend_from_slice(kind.as_bytes());
    place.extend_from_slice(key.as_bytes());
    place
}

fn read(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    std::fs::File::open(path)?.take(FILE_LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 2 * KEY || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

fn bad_key() -> Error {
    Error::invalid("vaultKey", "invalid_vault_key", "must be 64 hex digits or 32 bytes in Base64")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vault() -> Vault {
        Vault::from_key(&"5a".repeat(32)).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_again(plain in prop::collection::vec(any::<u8>(), 0..2000), kind in "[a-z]{1,8}", key in ".{0,20}") {
            let session = SessionId::new();
            let sealed = vault().seal(session, &kind, &key, &plain).unwrap();
            prop_assert_eq!(vault().open(session, &kind, &key, &sealed).unwrap(), plain);
        }

        #[test]
        fn a_changed_byte_anywhere_does_not_open(at in 0_usize..40, bit in 0_u8..8) {
            let session = SessionId::new();
            let mut sealed = vault().seal(session, "prekey", "7", b"eleven byte").unwrap();
            sealed[at] ^= 1 << bit;
            prop_assert_eq!(vault().open(session, "prekey", "7", &sealed).unwrap_err().code, "vault_cannot_open");
        }
    }

    #[test]
    fn a_value_opens_in_its_own_place_only() {
        let (session, plain) = (SessionId::new(), b"secret".as_slice());
        let sealed = vault().seal(session, "prekey", "12", plain).unwrap();
        for (session, kind, key) in [
            (SessionId::new(), "prekey", "12"),
            (session, "session", "12"),
            (session, "prekey", "13"),
            (session, "prekey1", "2"),
        ] {
            assert!(vault().open(session, kind, key, &sealed).is_err());
        }
        let other = Vault::from_key(&"5b".repeat(32)).unwrap();
        assert!(other.open(session, "prekey", "12", &sealed).is_err());
        assert!((0..sealed.len()).all(|end| vault().open(session, "prekey", "12", &sealed[..end]).is_err()));
    }

    #[test]
    fn the_same_value_never_looks_the_same() {
        let session = SessionId::new();
        let seal = || vault().seal(session, "k", "n", b"same").unwrap();
        assert_ne!(seal(), seal());
    }

    #[test]
    fn a_key_is_hex_or_base64_and_nothing_else() {
        let session = SessionId::new();
        let sealed = vault().seal(session, "k", "n", b"x").unwrap();
        let base64 = STANDARD.encode([0x5a; 32]);
        for text in [format!("{}\n", "5A".repeat(32)), base64] {
            assert_eq!(Vault::from_key(&text).unwrap().open(session, "k", "n", &sealed).unwrap(), b"x");
        }
        for text in ["", "5a", &"zz".repeat(32), &"5a".repeat(31), "ñ"] {
            assert_eq!(Vault::from_key(text).unwrap_err().code, "invalid_vault_key", "{text}");
        }
    }

    #[test]
    fn a_made_key_is_found_again_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.key");
        let session = SessionId::new();
        let sealed = Vault::load_or_create(&path).unwrap().seal(session, "k", "n", b"x").unwrap();
        assert_eq!(Vault::load_or_create(&path).unwrap().open(session, "k", "n", &sealed).unwrap(), b"x");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_spoilt_key_file_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.key");
        std::fs::write(&path, "not a key").unwrap();
        assert_eq!(Vault::load_or_create(&path).unwrap_err().code, "invalid_vault_key");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "not a key");
    }

    #[test]
    fn the_key_is_never_shown() {
        assert_eq!(format!("{:?}", vault()), "Vault { key: hidden }");
    }
}
