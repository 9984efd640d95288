//! What opens a token, and all that does not.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

/// A moment: 2026-01-01.
const NOW: Timestamp = Timestamp(1_767_225_600_000);
const SECONDS: i64 = NOW.0 / 1000;
const LIFE: i64 = 900;

fn jwts() -> Jwts {
    Jwts::new(Realm::default())
}

fn claims() -> Claims {
    Claims {
        sub: Uuid::now_v7(),
        tenant: Uuid::now_v7(),
        role: "member".into(),
        scope: "sessions:read messages:send".into(),
        family: Uuid::now_v7(),
        jti: Uuid::now_v7(),
        iat: SECONDS,
        nbf: SECONDS,
        exp: SECONDS + LIFE,
        token_use: Claims::ACCESS.into(),
    }
}

/// A pair of keys under this name.
fn pair(kid: &str) -> (SigningKey, VerifyingKey) {
    let pair = jwts().make_pair().unwrap();
    let (kid, algorithm) = (kid.to_owned(), Algorithm::EdDsa);
    let verifying = VerifyingKey { kid: kid.clone(), algorithm, material: Zeroizing::new(pair.public) };
    (SigningKey { kid, algorithm, material: pair.secret }, verifying)
}

fn shared(kid: &str, secret: &[u8]) -> (SigningKey, VerifyingKey) {
    let (kid, algorithm) = (kid.to_owned(), Algorithm::Hs256);
    let material = Zeroizing::new(secret.to_vec());
    (
        SigningKey { kid: kid.clone(), algorithm, material: material.clone() },
        VerifyingKey { kid, algorithm, material },
    )
}

fn refused(key: &VerifyingKey, token: &str, at: Timestamp) -> &'static str {
    let error = jwts().open(key, token, at).unwrap_err();
    assert_eq!(error.kind, Kind::Unauthorized);
    assert!(token.len() < 8 || !error.message.contains(token), "an error quotes a token");
    error.code
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// The body of a token, changed, under the same key.
fn altered(signing: &SigningKey, change: impl FnOnce(&mut Value)) -> String {
    let token = jwts().sign(signing, &claims()).unwrap();
    let mut parts = token.split('.');
    let (head, body) = (parts.next().unwrap(), parts.next().unwrap());
    let mut body: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap();
    change(&mut body);
    let message = format!("{head}.{}", part(&body));
    let pair = Ed25519KeyPair::from_pkcs8(&signing.material).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes())))
}

#[test]
fn a_token_opens_under_its_key_and_says_what_it_said() {
    let (signing, verifying) = pair("k1");
    let claims = claims();
    let token = jwts().sign(&signing, &claims).unwrap();
    assert_eq!(jwts().kid(&token).unwrap(), "k1");
    assert_eq!(jwts().open(&verifying, &token, NOW).unwrap(), claims);
    let (signing, verifying) = shared("h1", &[7; 32]);
    let token = jwts().sign(&signing, &claims).unwrap();
    assert_eq!(jwts().open(&verifying, &token, NOW).unwrap(), claims);
}

#[test]
fn no_other_key_opens_it_also_under_the_same_name() {
    let (signing, _) = pair("k1");
    let token = jwts().sign(&signing, &claims()).unwrap();
    let (_, same_name) = pair("k1");
    assert_eq!(refused(&same_name, &token, NOW), "token_invalid");
    // The right key under a wrong name: what the header says and what signed must agree.
    let (_, mut renamed) = pair("k2");
    renamed.material =
        Zeroizing::new(Ed25519KeyPair::from_pkcs8(&signing.material).unwrap().public_key().as_ref().to_vec());
    assert_eq!(refused(&renamed, &token, NOW), "token_invalid");
}

#[test]
fn the_key_decides_the_algorithm_whatever_the_header_asks() {
    let (signing, verifying) = pair("k1");
    let token = jwts().sign(&signing, &claims()).unwrap();
    let body = token.split('.').nth(1).unwrap();
    // `none`, in every spelling, with and without a signature.
    for alg in ["none", "None", "NONE", ""] {
        let head = part(&json!({"alg": alg, "typ": "JWT", "kid": "k1"}));
        for signature in ["", "AAAA"] {
            let forged = format!("{head}.{body}.{signature}");
            assert_eq!(refused(&verifying, &forged, NOW), "token_invalid", "{alg}");
            assert!(jwts().kid(&forged).is_err(), "{alg}: not even its key is looked up");
        }
    }
    // The public key, which everybody has, as the secret of an HMAC.
    let (hmac, _) = shared("k1", &verifying.material);
    let forged = jwts().sign(&hmac, &claims()).unwrap();
    assert_eq!(refused(&verifying, &forged, NOW), "token_invalid");
    // Other families under the same name, with the original's signature.
    for alg in ["HS256", "HS384", "RS256", "PS256", "ES256"] {
        let head = part(&json!({"alg": alg, "typ": "JWT", "kid": "k1"}));
        let signature = token.split('.').nth(2).unwrap();
        assert_eq!(refused(&verifying, &format!("{head}.{body}.{signature}"), NOW), "token_invalid", "{alg}");
    }
    // And the other way round: a token of EdDSA for a key of HS256.
    let (_, hmac) = shared("k1", &[7; 32]);
    assert_eq!(refused(&hmac, &token, NOW), "token_invalid");
}

#[test]
fn time_is_checked_with_thirty_seconds_of_grace_on_both_sides() {
    let (signing, verifying) = pair("k1");
    let token = jwts().sign(&signing, &claims()).unwrap();
    let at = |seconds: i64| Timestamp((SECONDS + seconds) * 1000);
    for fine in [-LEEWAY, 0, LIFE - 1, LIFE, LIFE + LEEWAY - 1] {
        assert!(jwts().open(&verifying, &token, at(fine)).is_ok(), "{fine}");
    }
    assert_eq!(refused(&verifying, &token, at(-LEEWAY - 1)), "token_invalid", "from the future");
    for late in [LIFE + LEEWAY, LIFE + 86_400, i64::MAX / 1000 - SECONDS] {
        assert_eq!(refused(&verifying, &token, at(late)), "token_expired", "{late}");
    }
}

#[test]
fn a_token_for_something_else_opens_nothing() {
    let (signing, verifying) = pair("k1");
    let change = |member: &'static str, value: Value| altered(&signing, move |body| body[member] = value);
    assert!(
        jwts().open(&verifying, &change("role", json!("member")), NOW).is_ok(),
        "the forger's tool works"
    );
    for (member, value) in [
        ("token_use", json!("refresh")),
        ("token_use", json!("temporal")),
        ("iss", json!("somebody")),
        ("aud", json!("somebody")),
        ("aud", json!(["recado", "somebody"])),
        ("sub", json!("ada")),
        ("exp", json!("tomorrow")),
        ("nbf", json!(SECONDS + 600)),
    ] {
        assert_eq!(
            refused(&verifying, &change(member, value.clone()), NOW),
            "token_invalid",
            "{member} {value}"
        );
    }
    for member in ["iss", "aud", "sub", "exp", "nbf", "iat", "tenant", "family", "scope", "token_use", "jti"]
    {
        let without = altered(&signing, |body| {
            body.as_object_mut().unwrap().remove(member);
        });
        assert_eq!(refused(&verifying, &without, NOW), "token_invalid", "without {member}");
    }
}

#[test]
fn what_is_no_token_is_refused_without_a_panic() {
    let (signing, verifying) = pair("k1");
    let token = jwts().sign(&signing, &claims()).unwrap();
    let long = format!("{token}{}", "A".repeat(LONGEST));
    for bad in
        ["", ".", "..", "...", "a.b.c", "é.é.é", &token[..token.len() - 1], &format!("{token}.x"), &long]
    {
        assert_eq!(refused(&verifying, bad, NOW), "token_invalid", "{bad}");
    }
    // Every flipped character of the signature and of the body.
    for at in token.find('.').unwrap() + 1..token.len() - 1 {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let bad = String::from_utf8(bytes).unwrap();
        if bad != token {
            assert_eq!(refused(&verifying, &bad, NOW), "token_invalid", "character {at}");
        }
    }
}
