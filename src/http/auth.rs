//! Who asks: a bearer API key, behind one extractor, [`Caller`].
//!
//! Promises: only the SHA-256 of a key is stored, so the tables give none away; a key is shown once, when it is made;
//! an unknown key is refused before anything else of the request is looked at; a key seen lately costs no query; who
//! tries keys out is soon refused without one.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::Api;
use super::error::{Problem, Result};
use super::limits::Who;
use crate::actors::ledger::Ledgers;
use crate::domain::error::{Error, Kind};
use crate::domain::ids::{KeyId, TenantId};
use crate::domain::now;
use crate::domain::view::KeyView;
use crate::domain::write::{AddKey, Write};

/// What every key starts with, so that a scanner of leaked secrets can know it.
const PREFIX: &str = "rec_";

/// Length of a key: the prefix and 32 random bytes.
const KEY_LENGTH: usize = PREFIX.len() + 43;

/// How long a key is believed without asking the store again.
const REMEMBERED: Duration = Duration::from_secs(30);

/// The most keys remembered.
const CACHE_LIMIT: usize = 4096;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// Whose data it may see and change.
    pub(super) tenant: TenantId,
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self> {
        let key = recognised(bearer(&parts.headers), &parts.headers, api).await?;
        let who = Who { tenant: key.tenant, token: key.id.0, sends: api.limits.sender(parts) };
        api.limits.admit(&parts.headers, who).await?;
        Ok(Self { tenant: key.tenant })
    }
}

impl Caller {
    /// The caller with this key, or without one, of a request that sends no message.
    pub(super) async fn with(token: Result<&str, Error>, headers: &HeaderMap, api: &Api) -> Result<Self> {
        let key = recognised(token, headers, api).await?;
        api.limits.admit(headers, Who { tenant: key.tenant, token: key.id.0, sends: None }).await?;
        Ok(Self { tenant: key.tenant })
    }
}

/// The key that a token is. Who has failed too often is not told whether this one is good; a key seen lately is.
async fn recognised(token: Result<&str, Error>, headers: &HeaderMap, api: &Api) -> Result<KeyView> {
    let hash = match token.map(hash) {
        Ok(Ok(hash)) => hash,
        Ok(Err(unshaped)) => return Err(api.limits.failed(headers, unshaped).await),
        // Nothing was tried.
        Err(missing) => return Err(api.limits.before(headers).await.err().unwrap_or_else(|| missing.into())),
    };
    if let Some(key) = api.keys.known(&hash) {
        return Ok(key);
    }
    api.limits.before(headers).await?;
    match api.queries.key(hash).await? {
        Some(key) => {
            api.keys.remember(hash, &key);
            Ok(key)
        }
        None => Err(api.limits.failed(headers, refused()).await),
    }
}

/// The token of `Authorization: Bearer …`.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, Error> {
    let missing = || {
        let detail = "send Authorization: Bearer with an API key";
        Error { field: Some("Authorization".into()), ..Error::new(Kind::Unauthorized, "missing_key", detail) }
    };
    let value = headers.get(AUTHORIZATION).ok_or_else(missing)?.to_str().unwrap_or_default();
    let (scheme, token) = value.split_once(' ').ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(missing()) }
}

fn refused() -> Error {
    let detail = "the API key is not known";
    Error { field: Some("Authorization".into()), ..Error::new(Kind::Unauthorized, "unknown_key", detail) }
}

/// What the store knows of a key; refuses at once what cannot be one.
fn hash(token: &str) -> Result<[u8; 32], Error> {
    let shaped = token.len() == KEY_LENGTH
        && token
            .strip_prefix(PREFIX)
            .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')));
    if shaped { Ok(Sha256::digest(token.as_bytes()).into()) } else { Err(refused()) }
}

/// Keys seen lately.
#[derive(Default)]
pub(super) struct KeyCache(RwLock<HashMap<[u8; 32], (KeyView, Instant)>>);

impl KeyCache {
    fn known(&self, hash: &[u8; 32]) -> Option<KeyView> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(hash).filter(|(_, until)| *until > Instant::now()).map(|(key, _)| key.clone())
    }

    fn remember(&self, hash: [u8; 32], key: &KeyView) {
        let moment = Instant::now();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CACHE_LIMIT {
            known.retain(|_, (_, until)| *until > moment);
        }
        if known.len() < CACHE_LIMIT {
            known.insert(hash, (key.clone(), moment + REMEMBERED));
        }
    }
}

/// The text of a new key. It opens nothing until it is stored.
#[must_use]
pub fn new_key() -> String {
    let secret: [u8; 32] = rand::random();
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret))
}

/// Stores the hash of a key for a tenant; of the text nothing is kept. Storing it again changes nothing.
///
/// # Errors
/// `Unauthorized` when the text cannot be a key; else as for [`Ledgers::write`].
pub async fn store_key(ledgers: &Ledgers, tenant: TenantId, name: &str, text: &str) -> Result<(), Error> {
    let key = AddKey { tenant, id: KeyId::new(), hash: hash(text)?, name: name.to_owned(), at: now() };
    match ledgers.write(Write::AddKey(key)).await {
        Err(error) if error.code == "key_exists" => Ok(()),
        stored => stored.map(|_done| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(value: &str) -> HeaderMap {
        [(AUTHORIZATION, value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn only_a_bearer_token_is_looked_at() {
        assert_eq!(bearer(&header("Bearer abc")).unwrap(), "abc");
        assert_eq!(bearer(&header("bearer abc")).unwrap(), "abc");
        for bad in ["", "abc", "Basic abc"] {
            assert_eq!(bearer(&header(bad)).unwrap_err().code, "missing_key", "{bad}");
        }
        assert_eq!(bearer(&HeaderMap::new()).unwrap_err().kind, Kind::Unauthorized);
    }

    #[test]
    fn what_cannot_be_a_key_is_never_looked_up() {
        assert!(hash(&format!("rec_{}", "a".repeat(43))).is_ok());
        for bad in ["", "rec_", &"a".repeat(47), &format!("rec_{}!", "a".repeat(42))] {
            assert_eq!(hash(bad).unwrap_err().code, "unknown_key", "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_remembered_for_a_while_and_the_memory_is_bounded() {
        let cache = KeyCache::default();
        let key = KeyView { tenant: TenantId::DEFAULT, id: KeyId::new() };
        cache.remember([1; 32], &key);
        assert_eq!(cache.known(&[1; 32]).as_ref(), Some(&key));
        assert_eq!(cache.known(&[2; 32]), None);
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(cache.known(&[1; 32]), None);
        for i in 0..2 * CACHE_LIMIT {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&i.to_be_bytes());
            cache.remember(hash, &key);
        }
        assert_eq!(cache.0.read().unwrap().len(), CACHE_LIMIT);
    }
}
