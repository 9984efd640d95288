//! Refresh tokens used again, in parallel, and replayed; tokens forged and signed by keys that change; what is revoked.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt;
use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio_tungstenite::tungstenite::Message;

use super::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_is_used_again_ends_its_login_and_no_other() {
    let rig = Rig::start().await;
    let thief = rig.owner("ana@example.org").await;
    let elsewhere = rig.login("ana@example.org").await;
    let first = rig.refresh(&thief.refresh).await;
    assert_eq!(first.status, 200, "{first:?}");
    let second = rig.refresh(&first.text("refreshToken")).await;
    assert_eq!(second.status, 200, "{second:?}");
    let access = second.text("accessToken");
    assert_eq!(rig.get("/auth/me", &access).await.status, 200);
    // Two renewals old: a copy.
    assert_eq!(rig.refresh(&thief.refresh).await.code(), (401, "refresh_reused"));
    assert_eq!(rig.refresh(&second.text("refreshToken")).await.code(), (401, "login_ended"));
    for token in [&access, &thief.access] {
        assert_eq!(rig.get("/auth/me", token).await.code(), (401, "login_ended"), "at once");
    }
    assert_eq!(rig.get("/auth/me", &elsewhere.access).await.status, 200);
    assert_eq!(rig.refresh(&elsewhere.refresh).await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_parallel_renewals_one_wins_and_the_login_lives_on() {
    let rig = Rig::start().await;
    let person = rig.owner("ana@example.org").await;
    let answers = join_all((0..8).map(|_| rig.refresh(&person.refresh))).await;
    let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.code(), (409, "refresh_superseded"));
    }
    assert_eq!(rig.refresh(&won[0].text("refreshToken")).await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_refresh_token_of_ours_renews_nothing() {
    let rig = Rig::start().await;
    let person = rig.owner("ana@example.org").await;
    let mut guessed = person.refresh.clone();
    let last = guessed.pop().unwrap();
    guessed.push(if last == 'A' { 'Q' } else { 'A' });
    for bad in ["", "rrt_", &person.access, &rig.key] {
        assert_eq!(rig.refresh(bad).await.code(), (401, "refresh_unknown"), "{bad}");
    }
    // The login's id is no secret: a wrong proof of it must not be worth a denial of service by itself, and is none of ours.
    let answer = rig.refresh(&guessed).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(rig.refresh(&format!("rrt_{}", "A".repeat(64))).await.code(), (401, "refresh_unknown"));
    assert_eq!(rig.get("/sessions", &person.refresh).await.code(), (401, "unknown_key"), "it opens no route");
    rig.stop().await;
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn read(token: &str, part: usize) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(part).unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_says_how_it_is_to_be_read() {
    let rig = Rig::start().await;
    let person = rig.owner("ana@example.org").await;
    let body = person.access.split('.').nth(1).unwrap();
    let kid = read(&person.access, 0)["kid"].clone();
    let keys = rig.call("GET", "/.well-known/jwks.json", None, None, &[]).await.body;
    assert_eq!(keys["keys"][0]["kid"], kid);
    let public = URL_SAFE_NO_PAD.decode(keys["keys"][0]["x"].as_str().unwrap()).unwrap();
    assert_eq!(rig.get("/auth/me", &person.access).await.status, 200);
    // The public key as an HMAC's secret, in its bytes and as it is published.
    for secret in [public.as_slice(), keys["keys"][0]["x"].as_str().unwrap().as_bytes()] {
        let message = format!("{}.{body}", part(&json!({"alg": "HS256", "typ": "JWT", "kid": kid})));
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret).unwrap();
        mac.update(message.as_bytes());
        let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        assert_eq!(rig.get("/auth/me", &forged).await.code(), (401, "token_invalid"));
    }
    for alg in ["none", "None", "HS256", "RS256", "ES256"] {
        let head = part(&json!({"alg": alg, "typ": "JWT", "kid": kid}));
        for signature in ["", person.access.split('.').nth(2).unwrap()] {
            let forged = format!("{head}.{body}.{signature}");
            assert_eq!(rig.get("/auth/me", &forged).await.code(), (401, "token_invalid"), "{alg}");
        }
    }
    // A key that nobody has, and one that is a path.
    for kid in ["unknown", "../../dev/null", ""] {
        let head = part(&json!({"alg": "EdDSA", "typ": "JWT", "kid": kid}));
        let forged = format!("{head}.{body}.{}", person.access.split('.').nth(2).unwrap());
        assert_eq!(rig.get("/auth/me", &forged).await.code(), (401, "token_invalid"), "{kid}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_outlives_the_key_that_signs_and_both_are_shown() {
    let rig = Rig::with(|mut config| {
        config.identity.signing_for = Duration::from_secs(4);
        config
    })
    .await;
    let old = rig.owner("ana@example.org").await;
    rig.owner("eva@example.org").await;
    let kid = |token: &str| read(token, 0)["kid"].as_str().unwrap().to_owned();
    let new = rig
        .until("a token of the next key", async || {
            // Somebody else: with so many logins the first of one person would be crowded out.
            let next = rig.login("eva@example.org").await;
            (kid(&next.access) != kid(&old.access)).then_some(next)
        })
        .await;
    let keys = rig.call("GET", "/.well-known/jwks.json", None, None, &[]).await.body;
    let shown: Vec<_> =
        keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
    for token in [&old.access, &new.access] {
        assert!(shown.contains(&&*kid(token)), "{shown:?}");
        assert_eq!(rig.get("/auth/me", token).await.status, 200);
    }
    assert!(!keys.to_string().contains("\"d\""), "no private half is shown");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_secret_signs_where_it_is_asked_for() {
    let secret = "a secret of at least thirty-two characters";
    let rig = Rig::with(|mut config| {
        config.identity.shared = Some(recado::config::SharedSecret(secret.to_owned().into()));
        config
    })
    .await;
    let person = rig.owner("ana@example.org").await;
    assert_eq!(read(&person.access, 0)["alg"], "HS256");
    assert_eq!(rig.get("/auth/me", &person.access).await.status, 200);
    let keys = rig.call("GET", "/.well-known/jwks.json", None, None, &[]).await.body;
    assert_eq!(keys, json!({"keys": []}), "a shared secret is shown to nobody");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_claims_say_what_the_contract_says_and_nothing_personal() {
    let rig = Rig::start().await;
    let person = rig.owner("ana@example.org").await;
    let claims = read(&person.access, 1);
    let mut names: Vec<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected =
        ["aud", "exp", "family", "iat", "iss", "jti", "nbf", "role", "scope", "sub", "tenant", "token_use"];
    assert_eq!(names, expected);
    assert_eq!((&claims["token_use"], &claims["sub"]), (&json!("access"), &json!(person.user)));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 900);
    assert!(!claims["scope"].as_str().unwrap().contains("admin:"), "the service belongs to its operator");
    assert!(!claims.to_string().contains("example.org"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_by_a_key_is_shown_out_when_it_is_revoked() {
    let rig = Rig::start().await;
    let (key, id) = rig.made_key(&rig.key, json!({"name": "follows", "scopes": ["events:read"]})).await;
    let url = format!("{}/ws/sessions?token={key}", rig.base.replace("http", "ws"));
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(Message::Text(_)))), "greeted");
    assert_eq!(rig.call("DELETE", &format!("/api-keys/{id}"), Some(&rig.key), None, &[]).await.status, 204);
    let told = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (u16::from(frame.code), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                end => panic!("cut off without a word: {end:?}"),
            }
        }
    };
    let (code, reason) = tokio::time::timeout(Duration::from_secs(60), told).await.expect("within a minute");
    assert_eq!(code, 1008);
    assert!(reason.contains(r#""reason":"unauthorized""#), "{reason}");
    rig.stop().await;
}
