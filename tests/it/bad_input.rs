//! Requests that cannot be answered: what each gets, and that none leaves a trace.
//!
//! The table is in [`table`]. Every row is sent to a running service; after all of them the service is as it was.

mod table;

use std::time::Duration;

use recado::commands::service::Service;
use recado::config::Config;
use recado::domain::ids::TenantId;
use reqwest::Method;
use serde_json::{Value, json};
use table::{Case, Field};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

/// How long any answer may take.
const SOON: Duration = Duration::from_secs(30);

/// What the rows' placeholders stand for.
pub struct Names {
    base: String,
    /// `{key}`: a good API key.
    key: String,
    /// `{session}`: a session of this key that was never started.
    session: String,
    /// `{foreign}`: a session of another tenant.
    foreign: String,
    /// `{unknown}`: an id that nothing has.
    unknown: String,
}

impl Names {
    fn filled(&self, text: &str) -> String {
        text.replace("{key}", &self.key)
            .replace("{session}", &self.session)
            .replace("{foreign}", &self.foreign)
            .replace("{unknown}", &self.unknown)
    }
}

struct Rig {
    service: Service,
    _folder: tempfile::TempDir,
    http: reqwest::Client,
    names: Names,
}

async fn rig() -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(Config::embedded(folder.path()).unwrap(), Vec::new()).await.unwrap();
    let base = service.url().to_owned();
    let http = reqwest::Client::builder().timeout(SOON).build().unwrap();
    let key = service.new_key().await.unwrap();
    let other = service.new_key_of(TenantId(Uuid::now_v7())).await.unwrap();
    let session = made(&http, &base, &key, "taken").await;
    let foreign = made(&http, &base, &other, "theirs").await;
    let unknown = Uuid::now_v7().to_string();
    Rig { service, _folder: folder, http, names: Names { base, key, session, foreign, unknown } }
}

/// A session that is not started, made with the idempotency key `used`.
async fn made(http: &reqwest::Client, base: &str, key: &str, name: &str) -> String {
    let request = http.post(format!("{base}/sessions")).bearer_auth(key).header("Idempotency-Key", "used");
    let response = request.json(&json!({"name": name, "start": false})).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let body: Value = response.json().await.unwrap();
    body["sessionId"].as_str().unwrap().to_owned()
}

/// Sends one row; what is wrong with the answer.
async fn wrong(http: &reqwest::Client, names: &Names, case: &Case) -> Option<String> {
    let method = Method::from_bytes(case.method.as_bytes()).unwrap();
    let mut request = http.request(method, format!("{}{}", names.base, names.filled(case.path)));
    if !case.headers.iter().any(|(name, _)| *name == "Authorization") {
        request = request.bearer_auth(&names.key);
    }
    for (name, value) in case.headers.iter().filter(|(_, value)| *value != table::NONE) {
        request = request.header(*name, names.filled(value));
    }
    if let Some(body) = &case.body {
        if !case.headers.iter().any(|(name, _)| *name == "Content-Type") {
            request = request.header("Content-Type", "application/json");
        }
        let body = String::from_utf8(body.clone())
            .map_or_else(|raw| raw.into_bytes(), |text| names.filled(&text).into());
        request = request.body(body);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let kind = response
        .headers()
        .get("content-type")
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let id =
        response.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let body: Value = response.json().await.unwrap_or_default();
    let field = match case.field {
        Field::None => Value::Null,
        Field::Named(name) => name.into(),
    };
    let right = status == case.status
        && body["status"] == case.status
        && body["code"] == case.code
        && body["field"] == field
        && kind == "application/problem+json"
        && !id.is_empty()
        && body["requestId"] == *id
        && body["title"].is_string()
        && body["detail"].is_string();
    (!right).then(|| {
        let (method, path, wanted) = (case.method, case.path, (case.status, case.code, field));
        format!("{method} {path}\n  wanted {wanted:?}\n  got {status} {body}")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_request_gets_its_status_code_and_field_and_leaves_no_trace() {
    let rig = rig().await;
    let cases = table::cases();
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut failures = Vec::new();
    for case in &cases {
        failures.extend(wrong(&rig.http, &rig.names, case).await);
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
    untouched(&rig).await;
    assert!(rig.service.stop().await);
}

/// The service is ready and holds what it held before: one created session, one event, no message.
async fn untouched(rig: &Rig) {
    let get = async |path: &str| -> Value {
        let request = rig.http.get(format!("{}{path}", rig.names.base)).bearer_auth(&rig.names.key);
        request.send().await.unwrap().json().await.unwrap()
    };
    // A service that has just started is not ready yet.
    let until = tokio::time::Instant::now() + SOON;
    while get("/readyz").await["ready"] != true {
        assert!(tokio::time::Instant::now() < until, "{}", get("/readyz").await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let sessions = get("/sessions").await;
    assert_eq!(sessions["items"].as_array().unwrap().len(), 1, "{sessions}");
    assert_eq!(sessions["items"][0]["state"], "created");
    assert_eq!(sessions["items"][0]["queued"], 0);
    assert_eq!(get("/chats").await["items"].as_array().unwrap().len(), 0);
    let events = get("/events").await;
    let kinds: Vec<_> =
        events["items"].as_array().unwrap().iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["session.created"], "{events}");
    let metrics =
        rig.http.get(format!("{}/metrics", rig.names.base)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("http_requests_total"), "the rows were counted");
    assert!(
        !metrics
            .lines()
            .any(|line| line.starts_with("http_requests_total") && line.contains("status=\"500\""))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_and_request_give_the_same_answer_once() {
    let rig = rig().await;
    let ask = async || {
        let request = rig.http.post(format!("{}/sessions", rig.names.base)).bearer_auth(&rig.names.key);
        let request =
            request.header("Idempotency-Key", "twice").json(&json!({"name": "twice", "start": false}));
        let response = request.send().await.unwrap();
        let replayed = response.headers().contains_key("idempotent-replayed");
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        (response.status().as_u16(), replayed, location, response.json::<Value>().await.unwrap())
    };
    let (first, again) = (ask().await, ask().await);
    assert_eq!((first.0, first.1), (201, false));
    assert_eq!(again, (201, true, first.2, first.3));
    assert!(rig.service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_closed_and_harms_nobody() {
    let rig = rig().await;
    let address = rig.names.base.strip_prefix("http://").unwrap();
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(200_000));
    for text in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /sessions HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        &long,
    ] {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        // The server may close before it has read everything.
        let _sent = socket.write_all(text.as_bytes()).await;
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(SOON, socket.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "still open after {:?}", &text[..text.len().min(40)]);
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    }
    untouched(&rig).await;
    assert!(rig.service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_origin_gets_no_permission_unless_configured() {
    let rig = rig().await;
    let request = rig.http.request(Method::OPTIONS, format!("{}/sessions", rig.names.base));
    let request =
        request.header("Origin", "https://evil.example").header("Access-Control-Request-Method", "POST");
    let response = request.send().await.unwrap();
    assert!(!response.headers().contains_key("access-control-allow-origin"));
    assert!(rig.service.stop().await);
}
