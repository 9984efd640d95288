//! What the contract promises of every route, asked of a running service.

use std::collections::BTreeSet;

use recado::commands::service::Service;
use recado::config::Config;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::app::SOON;

struct Rig {
    service: Service,
    http: reqwest::Client,
    key: String,
    _folder: TempDir,
}

async fn rig(origins: &[&str]) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::embedded(folder.path()).unwrap();
    config.cors_origins = origins.iter().map(|&origin| origin.to_owned()).collect();
    let service = Service::start(config, Vec::new()).await.unwrap();
    let key = service.new_key().await.unwrap();
    let http = reqwest::Client::builder().timeout(SOON).build().unwrap();
    Rig { service, http, key, _folder: folder }
}

impl Rig {
    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, Vec<u8>) {
        let url = format!("{}{path}", self.service.url());
        let mut request = self.http.request(method, url).bearer_auth(&self.key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.bytes().await.unwrap().to_vec())
    }
}

fn operations() -> Vec<(Method, String, Value)> {
    let document = recado::http::openapi();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, said)| {
            (Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(), path.clone(), said.clone())
        })
    });
    operations.collect()
}

fn filled(path: &str) -> String {
    path.replace("{jid}", "15550100199").replace("{id}", "0192f0c1-7b7a-7000-8000-000000000001")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_ignores_a_parameter_that_it_does_not_have() {
    let rig = rig(&[]).await;
    let mut asked = 0;
    for (method, path, operation) in operations() {
        // Of those for persons a key is told so first.
        let of_persons = operation["description"].as_str().is_some_and(|said| said.contains("no API key"));
        if operation.get("security").is_some() || of_persons {
            continue;
        }
        let (status, _, body) = rig.ask(method.clone(), &format!("{}?sesionId=1", filled(&path)), &[]).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        let said = (status, body["code"].as_str(), body["field"].as_str());
        assert_eq!(said, (400, Some("unknown_field"), Some("sesionId")), "{method} {path}: {body}");
        asked += 1;
    }
    assert!(asked >= 20, "{asked}");
    assert!(rig.service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_protects_itself_in_a_browser() {
    let rig = rig(&[]).await;
    let document = ["/docs/", "/docs/swagger-ui.css", "/openapi.json", "/nowhere"].map(str::to_owned);
    let reads = operations().into_iter().filter(|(method, ..)| method == Method::GET);
    for path in reads.map(|(_, path, _)| filled(&path)).chain(document) {
        let (status, headers, _) = rig.ask(Method::GET, &path, &[]).await;
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path} {status}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        let kept = match &*path {
            "/.well-known/jwks.json" => "public, max-age=30",
            path if path.starts_with("/docs") => "no-cache",
            _ => "no-store",
        };
        assert_eq!(headers["cache-control"], kept, "{path}");
        assert!(!headers.contains_key("strict-transport-security"), "{path}");
        let page = headers["content-type"].to_str().unwrap().starts_with("text/html");
        assert_eq!(page, path == "/docs/", "{path}");
        assert_eq!(headers.contains_key("content-security-policy"), page, "{path}");
        assert_eq!(headers.contains_key("x-frame-options"), page, "{path}");
    }
    let (_, headers, _) = rig.ask(Method::GET, "/livez", &[("X-Forwarded-Proto", "https")]).await;
    assert!(headers.contains_key("strict-transport-security"));
    assert!(rig.service.stop().await);
}

/// The page's scripts and styles are files of ours: the policy forbids what stands in the page itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_runs_under_its_policy() {
    let rig = rig(&[]).await;
    let (status, _, page) = rig.ask(Method::GET, "/docs/", &[]).await;
    let page = String::from_utf8(page).unwrap();
    assert_eq!(status, 200);
    for script in page.split("<script").skip(1) {
        let (head, body) = script.split_once('>').unwrap();
        assert!(head.contains("src=\"./") && body.trim_start().starts_with("</script>"), "{script}");
    }
    assert!(!page.contains("<style") && !page.contains("http://") && !page.contains("https://"), "{page}");
    assert!(rig.service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_polled_is_sent_once() {
    let rig = rig(&[]).await;
    let make = rig.http.post(format!("{}/sessions", rig.service.url())).bearer_auth(&rig.key);
    let made = make.json(&json!({"name": "one", "start": false})).send().await.unwrap();
    let location = made.headers()["location"].to_str().unwrap().to_owned();
    assert!(!made.headers().contains_key("etag"), "a write has no tag");
    for path in [&*location, "/sessions", "/chats", "/dead-letters", "/events", "/openapi.json"] {
        let (status, headers, body) = rig.ask(Method::GET, path, &[]).await;
        assert!(status == 200 && !body.is_empty(), "{path}");
        let tag = headers["etag"].to_str().unwrap();
        let (status, again, body) = rig.ask(Method::GET, path, &[("If-None-Match", tag)]).await;
        assert_eq!((status, body.len(), &again["etag"]), (304, 0, &headers["etag"]), "{path}");
        assert!(again.contains_key("x-request-id"), "{path}");
    }
    let (_, headers, _) = rig.ask(Method::GET, "/sessions", &[]).await;
    let tag = headers["etag"].to_str().unwrap().to_owned();
    let more = rig.http.post(format!("{}/sessions", rig.service.url())).bearer_auth(&rig.key);
    assert_eq!(more.json(&json!({"name": "two", "start": false})).send().await.unwrap().status(), 201);
    assert_eq!(rig.ask(Method::GET, "/sessions", &[("If-None-Match", &tag)]).await.0, 200);
    assert!(rig.service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_is_small_on_the_way() {
    let rig = rig(&[]).await;
    let (_, plain, body) = rig.ask(Method::GET, "/openapi.json", &[]).await;
    let (_, packed, small) = rig.ask(Method::GET, "/openapi.json", &[("Accept-Encoding", "gzip")]).await;
    assert!(!plain.contains_key("content-encoding"));
    assert_eq!(packed["content-encoding"], "gzip");
    assert!(small.len() * 4 < body.len(), "{} of {}", small.len(), body.len());
    let (_, none, _) = rig.ask(Method::GET, "/livez", &[("Accept-Encoding", "gzip")]).await;
    assert!(!none.contains_key("content-encoding"), "not worth it");
    assert!(rig.service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_on_a_named_origin_may_do_what_a_client_can() {
    let rig = rig(&["https://app.example"]).await;
    let asks = [
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type,idempotency-key,if-none-match"),
    ];
    let (status, headers, _) = rig.ask(Method::OPTIONS, "/sessions", &asks).await;
    assert_eq!(
        (status, &headers["access-control-allow-origin"]),
        (200, &HeaderValue::from_static("https://app.example"))
    );
    let listed = |headers: &HeaderMap, name: &str| -> BTreeSet<String> {
        let text = headers[HeaderName::from_bytes(name.as_bytes()).unwrap()].to_str().unwrap().to_lowercase();
        text.split(',').map(|one| one.trim().to_owned()).collect()
    };
    let methods = listed(&headers, "access-control-allow-methods");
    assert!(operations().iter().all(|(method, ..)| methods.contains(&method.as_str().to_lowercase())));
    let allowed = listed(&headers, "access-control-allow-headers");
    for name in ["authorization", "content-type", "idempotency-key", "if-none-match", "x-request-id"] {
        assert!(allowed.contains(name), "{name}");
    }
    let (_, headers, _) = rig.ask(Method::GET, "/sessions", &[("Origin", "https://app.example")]).await;
    let exposed = listed(&headers, "access-control-expose-headers");
    // Every header that the document names, and those of limits and changes to come.
    let document = recado::http::openapi();
    let text = document["paths"].to_string() + &document["components"]["responses"].to_string();
    for name in ["ETag", "Location", "Retry-After", "Idempotent-Replayed", "x-request-id", "WWW-Authenticate"]
    {
        assert!(text.contains(&format!("\"{name}\"")) && exposed.contains(&name.to_lowercase()), "{name}");
    }
    for name in ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "deprecation", "sunset"] {
        assert!(exposed.contains(name), "{name}");
    }
    let (_, headers, _) = rig.ask(Method::GET, "/sessions", &[("Origin", "https://evil.example")]).await;
    assert!(!headers.contains_key("access-control-allow-origin"));
    assert!(rig.service.stop().await);
}

/// `api.http` shows routes that exist, and bodies that are JSON.
#[test]
fn the_requests_for_editors_are_of_this_api() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/api.http")).unwrap();
    let known: Vec<_> =
        operations().into_iter().map(|(method, path, _)| (method.to_string(), path)).collect();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        let Some((method, rest)) = line.split_once(" {{base}}") else { continue };
        let path = rest.split('?').next().unwrap();
        let fits = |template: &str| {
            let (mut ours, mut theirs) = (path.split('/'), template.split('/'));
            ours.by_ref()
                .zip(theirs.by_ref())
                .all(|(our, their)| our == their || (their.starts_with('{') && our.starts_with("{{")))
                && ours.next().is_none()
                && theirs.next().is_none()
                && path.split('/').count() == template.split('/').count()
        };
        let found = known.iter().find(|(known, template)| known == method && fits(template));
        seen.insert(found.unwrap_or_else(|| panic!("no such route: {line}")).clone());
    }
    assert!(seen.len() >= 15, "the main flow: {seen:?}");
    for body in text.lines().filter(|line| line.starts_with('{')) {
        assert!(serde_json::from_str::<Value>(body).is_ok(), "{body}");
    }
}
