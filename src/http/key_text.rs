//! The text of an API key: `rec_` and 32 random bytes.
//!
//! Promises: a scanner of leaked secrets can know one by its beginning; the text is shown once, when it is made, and of
//! it only the SHA-256 and the first characters after the beginning are stored.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::auth::hashed;
use crate::actors::ledger::Ledgers;
use crate::domain::error::{Error, Kind, Result};
use crate::domain::identity::Scopes;
use crate::domain::ids::{KeyId, TenantId};
use crate::domain::now;
use crate::domain::write::{AddKey, Write};

/// What every key starts with.
const BEGINNING: &str = "rec_";

/// Length of a key: the beginning and 32 random bytes.
const LENGTH: usize = BEGINNING.len() + 43;

/// How much of a key is shown in lists, to know it by.
const SHOWN: usize = 8;

/// What the service makes itself counts against no limit.
const NO_LIMIT: i64 = i64::MAX;

/// Whether a text can be a key at all.
pub(super) fn is_shaped(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.len() == LENGTH && text.strip_prefix(BEGINNING).is_some_and(|rest| rest.bytes().all(fine))
}

/// What a key is known by in lists.
pub(super) fn prefix(text: &str) -> String {
    text.chars().skip(BEGINNING.len()).take(SHOWN).collect()
}

/// The text of a new key. It opens nothing until it is stored.
#[must_use]
pub fn new_key() -> String {
    let secret: [u8; 32] = rand::random();
    format!("{BEGINNING}{}", URL_SAFE_NO_PAD.encode(secret))
}

/// Stores the hash of a key for a tenant, with all that the tenant may have; of the text nothing is kept. Storing it again
/// changes nothing.
///
/// # Errors
/// `Unauthorized` when the text cannot be a key; else as for [`Ledgers::write`].
pub async fn store_key(ledgers: &Ledgers, tenant: TenantId, name: &str, text: &str) -> Result<()> {
    if !is_shaped(text) {
        return Err(Error::new(Kind::Unauthorized, "unknown_key", "the API key is not known"));
    }
    let key = AddKey {
        tenant,
        id: KeyId::new(),
        hash: hashed(text),
        name: name.to_owned(),
        prefix: prefix(text),
        scopes: Scopes::ALL.within(tenant),
        sessions: None,
        created_by: None,
        expires_at: None,
        limit: NO_LIMIT,
        audit: None,
        at: now(),
    };
    match ledgers.write(Write::AddKey(key)).await {
        Err(error) if error.code == "key_exists" => Ok(()),
        stored => stored.map(|_done| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_key_is_never_looked_up() {
        assert!(is_shaped(&format!("rec_{}", "a".repeat(43))) && is_shaped(&new_key()));
        for bad in
            ["", "rec_", &"a".repeat(47), &format!("rec_{}!", "a".repeat(42)), &format!("{}x", new_key())]
        {
            assert!(!is_shaped(bad), "{bad}");
        }
    }

    #[test]
    fn a_key_is_known_by_its_first_characters() {
        assert_eq!(prefix("rec_abcdefghijk"), "abcdefgh");
    }
}
