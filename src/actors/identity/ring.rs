//! The keys that access tokens are signed with: which of them signs now, which open tokens, when a new one is due.
//!
//! Promises: every node comes to the same answer from the same rows and time; a key signs only when every node has had
//! the time to see it, unless there is no other; a key that signed opens tokens until the last of its own has expired.

use std::time::Duration;

use serde_json::{Value, json};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::domain::identity::SigningKey;
use crate::domain::ids::SigningKeyId;
use crate::domain::time::Timestamp;
use crate::infra::tokens::{Algorithm, LEEWAY, VerifyingKey};

/// How keys follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long an access token lives.
    pub life: Duration,
    /// How long a key signs before the next takes its place.
    pub rotate: Duration,
    /// How long a new key is only shown, so that every node has seen it before it signs.
    pub settle: Duration,
    /// How often the tables are looked at for keys of other nodes.
    pub look: Duration,
}

impl Terms {
    /// For tokens of this life and keys of that.
    #[must_use]
    pub fn new(life: Duration, rotate: Duration) -> Self {
        let settle = (rotate / 8).min(Duration::from_secs(90));
        Self { life, rotate, settle, look: settle / 3 }
    }

    /// How long after its last signature a key must be known.
    fn lingers(&self) -> Duration {
        self.life + self.look * 2 + Duration::from_secs(2 * LEEWAY.unsigned_abs())
    }
}

/// What should be done about the keys now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// A new key is to be made; this was the newest.
    pub(super) make: bool,
    /// Keys that sign no more, and when their last token has expired.
    pub(super) retire: Vec<(SigningKeyId, Timestamp)>,
}

/// The newest of all keys.
pub(super) fn newest(keys: &[SigningKey]) -> Option<&SigningKey> {
    keys.iter().max_by_key(|key| (key.created_at, key.id))
}

/// The key that signs at this moment: the newest that all nodes know, else the oldest.
pub(super) fn signer<'k>(keys: &'k [SigningKey], at: Timestamp, terms: &Terms) -> Option<&'k SigningKey> {
    let live = || keys.iter().filter(|key| key.retires_at.is_none());
    let settled = live().filter(|key| key.created_at.after(terms.settle) <= at);
    settled
        .max_by_key(|key| (key.created_at, key.id))
        .or_else(|| live().min_by_key(|key| (key.created_at, key.id)))
}

/// What should be done about the keys at this moment.
pub(super) fn due(keys: &[SigningKey], at: Timestamp, terms: &Terms) -> Due {
    let live = newest(keys).filter(|key| key.retires_at.is_none());
    let make = live.is_none_or(|key| key.created_at.after(terms.rotate) <= at);
    let signs = signer(keys, at, terms).map(|key| (key.created_at, key.id));
    let older = keys.iter().filter(|key| key.retires_at.is_none() && Some((key.created_at, key.id)) < signs);
    Due { make, retire: older.map(|key| (key.id, at.after(terms.lingers()))).collect() }
}

/// The keys that open tokens, for everybody who reads them.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring {
    keys: Vec<VerifyingKey>,
    jwks: Value,
}

impl Ring {
    /// Of the stored keys that are not retired at this moment.
    pub(super) fn of(keys: &[SigningKey], at: Timestamp) -> Self {
        let known = keys.iter().filter(|key| key.retires_at.is_none_or(|retires| at < retires));
        let keys: Vec<VerifyingKey> = known
            .filter(|key| key.algorithm == Algorithm::EdDsa.as_str())
            .map(|key| VerifyingKey {
                kid: key.id.to_string(),
                algorithm: Algorithm::EdDsa,
                material: Zeroizing::new(key.public.clone()),
            })
            .collect();
        let jwks = json!({ "keys": keys.iter().map(jwk).collect::<Vec<_>>() });
        Self { keys, jwks }
    }

    /// Of one secret that both signs and opens: nothing of it is for everybody.
    pub(super) fn shared(key: VerifyingKey) -> Self {
        Self { keys: vec![key], jwks: json!({ "keys": [] }) }
    }

    /// The key of this name.
    pub(super) fn find(&self, kid: &str) -> Option<&VerifyingKey> {
        self.keys.iter().find(|key| key.kid == kid)
    }

    /// The public halves, as RFC 7517 has them.
    pub(super) fn jwks(&self) -> &Value {
        &self.jwks
    }
}

/// A public key as RFC 8037 has it.
fn jwk(key: &VerifyingKey) -> Value {
    json!({
        "kty": "OKP",
        "crv": "Ed25519",
        "use": "sig",
        "alg": key.algorithm.as_str(),
        "kid": key.kid,
        "x": URL_SAFE_NO_PAD.encode(&*key.material),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(made: i64, retires: Option<i64>) -> SigningKey {
        SigningKey {
            id: SigningKeyId::new(),
            algorithm: "EdDSA".to_owned(),
            public: vec![7; 32],
            secret: Vec::new(),
            created_at: Timestamp(made * 1000),
            retires_at: retires.map(|at| Timestamp(at * 1000)),
        }
    }

    const TERMS: Terms = Terms {
        life: Duration::from_secs(900),
        rotate: Duration::from_secs(10_000),
        settle: Duration::from_secs(90),
        look: Duration::from_secs(30),
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    #[test]
    fn the_first_key_signs_at_once_and_a_later_one_when_all_have_seen_it() {
        let keys = [key(0, None)];
        assert_eq!(due(&[], at(0), &TERMS), Due { make: true, retire: Vec::new() });
        assert_eq!(signer(&keys, at(0), &TERMS), Some(&keys[0]));
        assert_eq!(due(&keys, at(9_999), &TERMS), Due::default());
        assert!(due(&keys, at(10_000), &TERMS).make);
        let keys = [keys[0].clone(), key(10_000, None)];
        assert_eq!(signer(&keys, at(10_089), &TERMS), Some(&keys[0]), "not everybody has seen the new one");
        assert_eq!(due(&keys, at(10_089), &TERMS), Due::default());
        assert_eq!(signer(&keys, at(10_090), &TERMS), Some(&keys[1]));
        let retire = due(&keys, at(10_090), &TERMS).retire;
        // A token of its last moment, on a node that has not looked yet, and clocks that differ.
        assert_eq!(retire, [(keys[0].id, at(10_090 + 900 + 60 + 60))]);
    }

    #[test]
    fn a_key_opens_tokens_until_it_is_retired_and_is_shown_as_long() {
        let keys = [key(0, Some(500)), key(100, None)];
        let kid = keys[0].id.to_string();
        let before = Ring::of(&keys, at(499));
        assert!(before.find(&kid).is_some());
        assert_eq!(before.jwks()["keys"].as_array().unwrap().len(), 2);
        let after = Ring::of(&keys, at(500));
        assert!(after.find(&kid).is_none() && after.find(&keys[1].id.to_string()).is_some());
        let shown = &after.jwks()["keys"][0];
        assert_eq!((shown["kty"].as_str(), shown["alg"].as_str()), (Some("OKP"), Some("EdDSA")));
        assert_eq!(shown.as_object().unwrap().len(), 6, "nothing but the public half is shown");
    }

    #[test]
    fn a_shared_secret_is_shown_to_nobody() {
        let secret = Zeroizing::new(b"0123456789abcdef0123456789abcdef".to_vec());
        let ring =
            Ring::shared(VerifyingKey { kid: "hs".into(), algorithm: Algorithm::Hs256, material: secret });
        assert!(ring.find("hs").is_some());
        assert_eq!(ring.jwks(), &json!({"keys": []}));
    }

    #[test]
    fn keys_of_one_moment_are_told_apart_the_same_everywhere() {
        let (one, other) = (key(0, None), key(0, None));
        let first = signer(&[one.clone(), other.clone()], at(1000), &TERMS).map(|key| key.id);
        assert_eq!(signer(&[other, one], at(1000), &TERMS).map(|key| key.id), first);
    }
}
