//! Registration, passwords and mail addresses; and that no answer tells who has an account.

use serde_json::json;

use super::{PASSWORD, Rig};

#[tokio::test(flavor = "multi_thread")]
async fn somebody_registers_proves_their_address_and_owns_a_tenant() {
    let rig = Rig::start().await;
    let body = json!({"email": " Ana@Example.ORG ", "password": PASSWORD, "name": "Ana", "tenant": "Example", "locale": "es"});
    let answer = rig.open("/auth/register", body).await;
    assert_eq!((answer.status, &answer.body), (202, &json!({"status": "mail_sent"})));
    let login = json!({"email": "ana@example.org", "password": PASSWORD});
    assert_eq!(rig.open("/auth/login", login.clone()).await.code(), (403, "mail_not_verified"));
    let token = rig.token("verify", "ana@example.org");
    let verified = rig.open("/auth/verify", json!({"token": token})).await;
    assert_eq!((verified.status, verified.text("state")), (200, "active".to_owned()));
    assert_eq!(rig.open("/auth/verify", json!({"token": token})).await.code(), (400, "token_spent"), "once");
    let ana = rig.login("ana@example.org").await;
    let me = rig.get("/auth/me", &ana.access).await;
    assert_eq!(me.body["user"]["email"], "ana@example.org");
    assert_eq!((&me.body["role"], &me.body["user"]["locale"]), (&json!("owner"), &json!("es")));
    assert_eq!(me.body["tenantId"], *ana.tenant);
    assert_eq!(rig.session(&ana.access).await.len(), 36, "an owner works with it at once");
    assert_eq!(rig.get("/admin/tree", &ana.access).await.code(), (403, "missing_scope"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_opens_a_page_that_holds_nothing_and_may_load_its_script_alone() {
    let rig = Rig::start().await;
    let page = rig.call("GET", "/auth/links/reset", None, None, &[]).await;
    assert_eq!(
        (page.status, &page.headers["content-type"]),
        (200, &"text/html; charset=utf-8".parse().unwrap())
    );
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self';"), "{policy}");
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
    let script = rig.call("GET", "/auth/link.js", None, None, &[]).await;
    assert_eq!(
        (script.status, &script.headers["content-type"]),
        (200, &"text/javascript; charset=utf-8".parse().unwrap())
    );
    let unknown = rig.call("GET", "/auth/links/nothing", None, None, &[]).await;
    assert_eq!(unknown.code(), (400, "invalid_purpose"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_tells_who_has_an_account() {
    let rig = Rig::start().await;
    rig.owner("ana@example.org").await;
    let register = async |mail: &str| {
        let answer = rig.open("/auth/register", json!({"email": mail, "password": PASSWORD})).await;
        (answer.status, answer.body)
    };
    assert_eq!(register("ana@example.org").await, register("eva@example.org").await);
    // Whoever registered first may not be whom the address belongs to: its owner sets a password of their own.
    assert_eq!(register("eva@example.org").await.0, 202, "not proven yet, and asked again");
    let body = json!({"token": rig.token("reset", "eva@example.org"), "password": "la-frase-de-eva-1"});
    assert_eq!(rig.open("/auth/password/reset", body).await.text("state"), "active");
    let first = rig.open("/auth/login", json!({"email": "eva@example.org", "password": PASSWORD})).await;
    assert_eq!(first.code(), (401, "wrong_credentials"), "the first password opens nothing");
    let forgot = async |mail: &str| {
        let answer = rig.open("/auth/password/forgot", json!({"email": mail})).await;
        (answer.status, answer.body)
    };
    assert_eq!(forgot("ana@example.org").await, forgot("nobody@example.org").await);
    let login = async |mail: &str, password: &str| {
        let answer = rig.open("/auth/login", json!({"email": mail, "password": password})).await;
        let mut body = answer.body;
        body.as_object_mut().unwrap().remove("requestId");
        (answer.status, body)
    };
    let unknown = login("nobody@example.org", PASSWORD).await;
    assert_eq!(unknown.1["code"], "wrong_credentials");
    assert_eq!(login("ana@example.org", "not-the-password").await, unknown);
    assert_eq!(login("ana@example.org", &"x".repeat(4000)).await, unknown, "too long to be anybody's");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_wrong_passwords_lock_with_the_same_answer_until_the_password_is_set_anew() {
    let rig = Rig::start().await;
    let ana = rig.owner("ana@example.org").await;
    let login = async |password: &str| {
        rig.open("/auth/login", json!({"email": "ana@example.org", "password": password})).await.code().0
    };
    for _ in 0..4 {
        assert_eq!(login("not-the-password").await, 401);
    }
    assert_eq!(login(PASSWORD).await, 200, "four are forgiven");
    for _ in 0..5 {
        assert_eq!(login("not-the-password").await, 401);
    }
    let locked = rig.open("/auth/login", json!({"email": "ana@example.org", "password": PASSWORD})).await;
    assert_eq!(locked.code(), (401, "wrong_credentials"), "the right one, and the same answer");
    assert_eq!(rig.get("/auth/me", &ana.access).await.status, 200, "who is in stays in");
    assert_eq!(rig.open("/auth/password/forgot", json!({"email": "ana@example.org"})).await.status, 202);
    let token = rig.token("reset", "ana@example.org");
    let common = rig.open("/auth/password/reset", json!({"token": token, "password": "password123"})).await;
    assert_eq!(common.code(), (400, "common_password"));
    let set =
        rig.open("/auth/password/reset", json!({"token": token, "password": "otra-frase-larga-8"})).await;
    assert_eq!(set.status, 200, "{set:?}");
    let again =
        rig.open("/auth/password/reset", json!({"token": token, "password": "tercera-frase-9"})).await;
    assert_eq!(again.code(), (400, "token_spent"));
    assert_eq!(rig.get("/auth/me", &ana.access).await.code(), (401, "login_ended"), "every login has ended");
    assert_eq!(rig.refresh(&ana.refresh).await.code(), (401, "login_ended"));
    assert_eq!(login("otra-frase-larga-8").await, 200, "forgiven");
    assert_eq!(login(PASSWORD).await, 401);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_from_a_mail_is_for_one_purpose_and_the_newest_one_counts() {
    let rig = Rig::start().await;
    rig.owner("ana@example.org").await;
    let body = json!({"email": "eva@example.org", "password": PASSWORD});
    assert_eq!(rig.open("/auth/register", body).await.status, 202);
    let verify = rig.token("verify", "eva@example.org");
    for path in ["/auth/password/reset", "/auth/invitations/accept"] {
        let answer = rig.open(path, json!({"token": verify, "password": PASSWORD})).await;
        assert_eq!(answer.code(), (400, "token_unknown"), "{path}");
    }
    assert_eq!(rig.open("/auth/mail/confirm", json!({"token": verify})).await.code(), (400, "token_unknown"));
    let mut flipped = verify.clone().into_bytes();
    flipped[53] = if flipped[53] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    assert_eq!(rig.open("/auth/verify", json!({"token": flipped})).await.code(), (400, "token_unknown"));
    assert_eq!(rig.open("/auth/verify", json!({"token": verify})).await.status, 200);
    let old =
        "update one_time_tokens set created_at = created_at - 7200000, expires_at = expires_at - 7200000";
    assert_eq!(rig.open("/auth/password/forgot", json!({"email": "ana@example.org"})).await.status, 202);
    let reset = rig.token("reset", "ana@example.org");
    assert!(rig.tables().execute(old, []).unwrap() > 0);
    let late = rig.open("/auth/password/reset", json!({"token": reset, "password": PASSWORD})).await;
    assert_eq!(late.code(), (400, "token_expired"));
    assert_eq!(rig.open("/auth/password/forgot", json!({"email": "ana@example.org"})).await.status, 202);
    let newer = rig.token("reset", "ana@example.org");
    assert_ne!(newer, reset);
    assert_eq!(
        rig.open("/auth/password/reset", json!({"token": newer, "password": PASSWORD})).await.status,
        200
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_moves_to_an_address_that_is_proven() {
    let rig = Rig::start().await;
    let ana = rig.owner("ana@example.org").await;
    rig.owner("eva@example.org").await;
    let change = async |mail: &str, password: &str| {
        rig.post("/auth/mail/change", &ana.access, json!({"email": mail, "password": password})).await
    };
    assert_eq!(change("ana@example.com", "not-the-password").await.code(), (403, "wrong_password"));
    assert_eq!(change("eva@example.org", PASSWORD).await.status, 202, "taken, and the same answer");
    let taken = rig.token("change_mail", "ana@example.org");
    assert_eq!(rig.open("/auth/mail/confirm", json!({"token": taken})).await.code(), (409, "mail_taken"));
    assert_eq!(change("ana@example.com", PASSWORD).await.status, 202);
    let token = rig.token("change_mail", "ana@example.org");
    assert_eq!(rig.open("/auth/mail/confirm", json!({"token": token})).await.status, 200);
    assert_eq!(rig.open("/auth/mail/confirm", json!({"token": token})).await.code(), (400, "token_spent"));
    assert_eq!(rig.get("/auth/me", &ana.access).await.code(), (401, "login_ended"));
    let old = rig.open("/auth/login", json!({"email": "ana@example.org", "password": PASSWORD})).await;
    assert_eq!(old.code(), (401, "wrong_credentials"));
    assert_eq!(rig.login("ana@example.com").await.user, ana.user);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_can_register_nobody_can() {
    let rig = Rig::with(|mut config| {
        config.identity.registration = false;
        config
    })
    .await;
    let answer = rig.open("/auth/register", json!({"email": "ana@example.org", "password": PASSWORD})).await;
    assert_eq!(answer.code(), (403, "registration_closed"));
    assert_eq!(rig.invited(&rig.key, "ana@example.org", "admin").await.tenant.len(), 36, "invitations work");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_and_ends_their_logins() {
    let rig = Rig::start().await;
    let one = rig.owner("ana@example.org").await;
    let other = rig.login("ana@example.org").await;
    let third = rig.login("ana@example.org").await;
    let stranger = rig.owner("eva@example.org").await;
    let list = rig.get("/auth/logins", &one.access).await.body["items"].as_array().unwrap().clone();
    assert_eq!(list.len(), 3, "{list:?}");
    assert!(list.iter().all(|login| login["userId"] == *one.user && login.get("currentHash").is_none()));
    let end = async |login: &str, by: &str| {
        rig.call("DELETE", &format!("/auth/logins/{login}"), Some(by), None, &[]).await
    };
    assert_eq!(end(&other.login, &stranger.access).await.code(), (404, "login_not_found"));
    assert_eq!(end(&other.login, &one.access).await.status, 204);
    assert_eq!(rig.get("/auth/me", &other.access).await.code(), (401, "login_ended"));
    assert_eq!(rig.call("DELETE", "/auth/logins", Some(&one.access), None, &[]).await.status, 204);
    assert_eq!(rig.get("/auth/me", &third.access).await.status, 401);
    assert_eq!(rig.get("/auth/me", &one.access).await.status, 200);
    assert_eq!(rig.post("/auth/logout-all", &one.access, json!({})).await.status, 204);
    assert_eq!(rig.get("/auth/me", &one.access).await.status, 401);
    rig.stop().await;
}
