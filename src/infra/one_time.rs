//! One-time tokens that nobody stores: the text of each follows from its id and a key.
//!
//! Promises: whoever has the key makes the same text from the same id and purpose, so an event that tells of a token
//! needs to carry its id alone; without the key no text can be made, and a table of hashes gives none away; a text made
//! for one purpose is none for another.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::vault::Vault;
use crate::domain::error::{Error, Result};

/// What the key is derived for.
const LABEL: &str = "one-time-tokens";

/// Bytes of the proof in a text: 192 bits, which nobody guesses.
const PROOF: usize = 24;

/// Length of a text: id and proof in base64url.
pub const LENGTH: usize = 54;

/// Makes the texts.
#[derive(Clone)]
pub struct OneTimeTokens(Zeroizing<[u8; 32]>);

impl fmt::Debug for OneTimeTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeTokens(..)")
    }
}

impl OneTimeTokens {
    /// Under a key derived from the vault's.
    ///
    /// # Errors
    /// As for [`Vault::key_for`].
    pub fn of(vault: &Vault) -> Result<Self> {
        vault.key_for(LABEL).map(Self)
    }

    /// The text that is mailed: `base64url(id || HMAC-SHA256(key, purpose || id)[..24])`.
    ///
    /// # Errors
    /// `Bug`: the key has a length that the derivation cannot have.
    pub fn text(&self, purpose: &str, id: Uuid) -> Result<String> {
        let mut proof = <Hmac<Sha256> as KeyInit>::new_from_slice(&*self.0).map_err(Error::bug)?;
        proof.update(purpose.as_bytes());
        proof.update(id.as_bytes());
        let proof: [u8; 32] = proof.finalize().into_bytes().into();
        let mut bytes = Vec::with_capacity(16 + PROOF);
        bytes.extend_from_slice(id.as_bytes());
        bytes.extend_from_slice(&proof[..PROOF]);
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What is stored of a text: its SHA-256.
    ///
    /// # Errors
    /// As for [`Self::text`].
    pub fn hash(&self, purpose: &str, id: Uuid) -> Result<[u8; 32]> {
        Ok(hash(&self.text(purpose, id)?))
    }
}

/// What is stored of a text.
#[must_use]
pub fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(key: u8) -> OneTimeTokens {
        OneTimeTokens::of(&Vault::new(&[key; 32])).unwrap()
    }

    #[test]
    fn the_same_id_makes_the_same_text_and_nothing_else_does() {
        let id = Uuid::now_v7();
        let text = tokens(7).text("verify", id).unwrap();
        assert_eq!(text.len(), LENGTH);
        assert_eq!(tokens(7).text("verify", id).unwrap(), text);
        assert_ne!(tokens(7).text("reset", id).unwrap(), text, "another purpose");
        assert_ne!(tokens(8).text("verify", id).unwrap(), text, "another key");
        assert_ne!(tokens(7).text("verify", Uuid::now_v7()).unwrap(), text, "another id");
        assert_eq!(tokens(7).hash("verify", id).unwrap(), hash(&text));
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')));
    }
}
