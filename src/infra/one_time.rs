//! The texts of one-time tokens: what a mail carries so that whoever reads it can prove it.
//!
//! What it promises: a text is made of the token's id and the installation's key alone, so none is ever stored or put
//! into an event; without the key none can be made; a text counts only for the purpose it was made for, and comparing
//! takes the same time wherever it differs. That a token is spent once and in time is the tables' affair.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::vault::Vault;
use crate::domain::error::{Error, Result};

/// What the vault's key is bound to here.
const LABEL: &str = "one-time-tokens";
/// Bytes of the tag: 192 bits, far beyond guessing.
const TAG: usize = 24;
/// Bytes of a token: id and tag.
const BYTES: usize = 16 + TAG;
/// Characters of a text: [`BYTES`] in base64url without padding.
pub const TEXT: usize = (BYTES * 4).div_ceil(3);

/// Makes and reads the texts of one-time tokens.
pub struct OneTimeKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for OneTimeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeKey(..)")
    }
}

/// The text of a token: secret, and never shown by `Debug`.
#[derive(Clone)]
pub struct OneTimeText(Zeroizing<String>);

impl OneTimeText {
    /// The text itself, for the mail.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the tables keep of it.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        hash(&self.0)
    }
}

impl fmt::Debug for OneTimeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeText(..)")
    }
}

/// What the tables keep of a text.
#[must_use]
pub fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

impl OneTimeKey {
    /// The key of this installation: every node with the same vault has the same.
    ///
    /// # Errors
    /// `Bug`: the key has a length that the derivation cannot have.
    pub fn of(vault: &Vault) -> Result<Self> {
        vault.key_for(LABEL).map(Self)
    }

    /// The text of the token with this id: the same at every call.
    ///
    /// # Errors
    /// `Bug`: the key has a length that the derivation cannot have.
    pub fn derive(&self, purpose: &str, id: Uuid) -> Result<OneTimeText> {
        let tag = self.mac(purpose, id)?.finalize().into_bytes();
        let mut bytes = Zeroizing::new([0_u8; BYTES]);
        let (front, back) = bytes.split_at_mut(16);
        front.copy_from_slice(id.as_bytes());
        for (to, from) in back.iter_mut().zip(tag) {
            *to = from;
        }
        Ok(OneTimeText(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes))))
    }

    /// The id in a text made by this installation for this purpose; nothing for any other text. It says nothing about
    /// whether the token is known, in time, or spent.
    ///
    /// # Errors
    /// `Bug`: the key has a length that the derivation cannot have.
    pub fn id_in(&self, purpose: &str, text: &str) -> Result<Option<Uuid>> {
        if text.len() != TEXT {
            return Ok(None);
        }
        // Canonical texts only: the decoder refuses spare bits that are set, so one token has one text and one hash.
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new) else { return Ok(None) };
        let Some((id, tag)) = bytes.split_first_chunk::<16>() else { return Ok(None) };
        let id = Uuid::from_bytes(*id);
        // `verify_truncated_left` takes any length above 0: the length of the text has fixed it.
        Ok(self.mac(purpose, id)?.verify_truncated_left(tag).is_ok().then_some(id))
    }

    /// The purpose has no fixed length, but what follows it has, so no two pairs give the same bytes.
    fn mac(&self, purpose: &str, id: Uuid) -> Result<Hmac<Sha256>> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&*self.0).map_err(Error::bug)?;
        mac.update(purpose.as_bytes());
        mac.update(id.as_bytes());
        Ok(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> OneTimeKey {
        OneTimeKey::of(&Vault::new(&[byte; 32])).unwrap()
    }

    #[test]
    fn a_text_is_the_same_on_every_node_and_gives_its_id_back() {
        let id = Uuid::now_v7();
        let text = key(7).derive("verify", id).unwrap();
        assert_eq!(text.expose().len(), TEXT);
        assert_eq!(text.expose(), key(7).derive("verify", id).unwrap().expose());
        assert_eq!(text.hash(), hash(text.expose()));
        assert_eq!(key(7).id_in("verify", text.expose()).unwrap(), Some(id));
    }

    #[test]
    fn a_text_counts_for_its_purpose_and_installation_only() {
        let text = key(7).derive("verify", Uuid::now_v7()).unwrap();
        assert_eq!(key(7).id_in("reset", text.expose()).unwrap(), None);
        assert_eq!(key(8).id_in("verify", text.expose()).unwrap(), None);
    }

    #[test]
    fn every_other_text_is_refused() {
        let key = key(7);
        let text = key.derive("reset", Uuid::now_v7()).unwrap();
        let text = text.expose();
        for at in 0..text.len() {
            for other in ['A', 'B', 'z', '_', '-', '=', ' ', '\u{e9}'] {
                let mut changed: Vec<char> = text.chars().collect();
                if changed[at] == other {
                    continue;
                }
                changed[at] = other;
                let changed: String = changed.into_iter().collect();
                assert_eq!(key.id_in("reset", &changed).unwrap(), None, "{at} {other}");
            }
            assert_eq!(key.id_in("reset", &text[..at]).unwrap(), None, "cut at {at}");
        }
        assert_eq!(key.id_in("reset", &format!("{text}A")).unwrap(), None);
        // Text whose spare bits are set stands for the same bytes, and is refused all the same.
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let last = alphabet.find(text.chars().last().unwrap()).unwrap();
        assert_eq!(last % 16, 0, "four spare bits");
        for spare in 1..16 {
            let twin = format!("{}{}", &text[..TEXT - 1], &alphabet[last + spare..=last + spare]);
            assert_eq!(key.id_in("reset", &twin).unwrap(), None);
        }
    }

    #[test]
    fn nothing_secret_shows() {
        let key = key(7);
        let text = key.derive("reset", Uuid::now_v7()).unwrap();
        let shown = format!("{key:?} {text:?}");
        assert_eq!(shown, "OneTimeKey(..) OneTimeText(..)");
    }
}
