//! Cookies of the dashboard: kept from scripts, and no credential for a request of another site.

use reqwest::header::SET_COOKIE;
use serde_json::json;

use super::{Answer, PASSWORD, Rig};

/// A browser's jar: what `Set-Cookie` told it, by name.
fn jar(answer: &Answer) -> Vec<(String, String)> {
    let lines = answer.headers.get_all(SET_COOKIE).iter().map(|line| line.to_str().unwrap());
    lines
        .map(|line| line.split_once(';').unwrap().0.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn header(jar: &[(String, String)]) -> String {
    jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_keeps_its_login_in_cookies_and_no_other_site_can_use_it() {
    let rig = Rig::start().await;
    rig.owner("ana@example.org").await;
    let body = json!({"email": "ana@example.org", "password": PASSWORD, "cookie": true});
    let login = rig.open("/auth/login", body).await;
    assert_eq!(login.status, 200, "{login:?}");
    assert!(login.body.get("accessToken").is_none() && login.body.get("refreshToken").is_none());
    let lines: Vec<_> = login.headers.get_all(SET_COOKIE).iter().map(|line| line.to_str().unwrap()).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines.iter().all(|line| line.contains("SameSite=Strict") && line.contains("Path=/;")),
        "{lines:?}"
    );
    assert_eq!(lines.iter().filter(|line| line.contains("HttpOnly")).count(), 2);
    // Plain HTTP to the machine itself: no browser would keep a `Secure` cookie.
    assert!(lines.iter().all(|line| !line.contains("Secure") && line.starts_with("recado_")), "{lines:?}");
    let (cookies, csrf) = (header(&jar(&login)), login.text("csrfToken"));
    let ask = async |method: &str, path: &str, more: &[(&str, &str)]| {
        let headers = [&[("cookie", cookies.as_str())][..], more].concat();
        let body = (method == "POST").then(|| json!({"start": false}));
        rig.call(method, path, None, body, &headers).await
    };
    assert_eq!(ask("GET", "/auth/me", &[]).await.status, 200);
    assert_eq!(ask("POST", "/sessions", &[]).await.code(), (403, "csrf_token"));
    assert_eq!(ask("POST", "/sessions", &[("x-csrf-token", "guess")]).await.code(), (403, "csrf_token"));
    let token = ("x-csrf-token", csrf.as_str());
    for site in [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        assert_eq!(
            ask("POST", "/sessions", &[token, site]).await.code(),
            (403, "foreign_origin"),
            "{site:?}"
        );
    }
    assert_eq!(ask("POST", "/sessions", &[token, ("origin", &rig.base)]).await.status, 201);
    assert_eq!(ask("POST", "/sessions", &[token]).await.status, 201);
    // Another login's token is none for this one.
    let body = json!({"email": "ana@example.org", "password": PASSWORD, "cookie": true});
    let other = rig.open("/auth/login", body).await.text("csrfToken");
    assert_eq!(ask("POST", "/sessions", &[("x-csrf-token", &other)]).await.code(), (403, "csrf_token"));
    // A WebSocket's handshake has no such header; its origin decides.
    assert_eq!(ask("GET", "/ws/sessions", &[("upgrade", "websocket")]).await.code(), (403, "foreign_origin"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_renewed_and_forgotten() {
    let rig = Rig::start().await;
    rig.owner("ana@example.org").await;
    let body = json!({"email": "ana@example.org", "password": PASSWORD, "cookie": true});
    let login = rig.open("/auth/login", body).await;
    let (cookies, csrf) = (header(&jar(&login)), login.text("csrfToken"));
    let with = |cookies: &str, more: Option<&str>| {
        let mut headers = vec![("cookie".to_owned(), cookies.to_owned())];
        headers.extend(more.map(|csrf| ("x-csrf-token".to_owned(), csrf.to_owned())));
        headers
    };
    let ask = async |path: &str, headers: Vec<(String, String)>| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        rig.call("POST", path, None, None, &headers).await
    };
    assert_eq!(ask("/auth/refresh", with(&cookies, None)).await.code(), (403, "csrf_token"));
    let renewed = ask("/auth/refresh", with(&cookies, Some(&csrf))).await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    assert!(renewed.body.get("refreshToken").is_none());
    let (next, csrf) = (header(&jar(&renewed)), renewed.text("csrfToken"));
    assert_ne!(next, cookies);
    let out = ask("/auth/logout", with(&next, Some(&csrf))).await;
    assert_eq!(out.status, 204, "{out:?}");
    let gone: Vec<_> = out.headers.get_all(SET_COOKIE).iter().map(|line| line.to_str().unwrap()).collect();
    assert!(gone.len() == 3 && gone.iter().all(|line| line.contains("Max-Age=0")), "{gone:?}");
    assert_eq!(ask("/auth/refresh", with(&next, Some(&csrf))).await.code(), (401, "login_ended"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_not_the_machine_itself_cookies_are_for_tls_alone() {
    let rig = Rig::with(|mut config| {
        config.mode = recado::config::Mode::Production;
        config.identity.registration = true;
        config
    })
    .await;
    rig.owner("ana@example.org").await;
    let body = json!({"email": "ana@example.org", "password": PASSWORD, "cookie": true});
    let login = rig.open("/auth/login", body).await;
    for line in login.headers.get_all(SET_COOKIE) {
        let line = line.to_str().unwrap();
        assert!(line.starts_with("__Host-recado_") && line.contains("; Secure"), "{line}");
    }
    rig.stop().await;
}
