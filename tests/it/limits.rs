//! Limits through HTTP: how many pass, what a refusal says, who is counted as whom.

use std::time::Duration;

use recado::commands::service::Service;
use recado::config::Config;
use recado::domain::ids::TenantId;
use recado::domain::limit::{Rate, Rates};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use uuid::Uuid;

/// How long any answer may take.
const SOON: Duration = Duration::from_secs(30);

struct Rig {
    service: Service,
    _folder: tempfile::TempDir,
    http: reqwest::Client,
    key: String,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> Option<u64> {
        self.headers.get(name).map(|value| value.to_str().unwrap().parse().unwrap())
    }

    /// Limit and remaining, as the headers say; with a reset, or nothing at all.
    fn told(&self) -> Option<(u64, u64)> {
        let all = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"].map(|name| self.header(name));
        match all {
            [Some(limit), Some(remaining), Some(_reset)] => Some((limit, remaining)),
            [None, None, None] => None,
            partly => panic!("{partly:?}"),
        }
    }

    fn is_refused_by(&self, scope: &str, window: u64) {
        let shown = (self.status, self.body["code"].as_str(), self.body["scope"].as_str());
        assert_eq!(shown, (429, Some("rate_limited"), Some(scope)), "{}", self.body);
        assert_eq!(self.told().map(|(_, remaining)| remaining), Some(0));
        let wait = self.header("retry-after").unwrap();
        assert!((1..=window).contains(&wait), "{wait}");
        assert_eq!(Some(wait), self.header("ratelimit-reset"));
    }
}

fn rate(text: &str) -> Option<Rate> {
    Some(text.parse().unwrap())
}

async fn rig(limits: Rates) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let trusted_proxies = "127.0.0.0/8".parse().unwrap();
    let config = Config { limits, trusted_proxies, ..Config::embedded(folder.path()).unwrap() };
    let service = Service::start(config, Vec::new()).await.unwrap();
    let key = service.new_key().await.unwrap();
    let http = reqwest::Client::builder().timeout(SOON).build().unwrap();
    Rig { service, _folder: folder, http, key }
}

impl Rig {
    async fn ask(&self, method: &str, path: &str, (key, from): (&str, &str), body: Option<Value>) -> Answer {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.service.url()));
        if !key.is_empty() {
            request = request.bearer_auth(key);
        }
        request = request.header("X-Forwarded-For", from);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.json().await.unwrap_or_default() }
    }

    async fn get(&self, path: &str, key: &str, from: &str) -> Answer {
        self.ask("GET", path, (key, from), None).await
    }

    async fn session(&self) -> String {
        let made = self.ask("POST", "/sessions", (&self.key, ANA), Some(json!({"start": false}))).await;
        assert_eq!(made.status, 201, "{}", made.body);
        made.body["sessionId"].as_str().unwrap().to_owned()
    }

    async fn stop(self) {
        assert!(self.service.stop().await, "the stop was late");
    }
}

const ANA: &str = "203.0.113.7";
const BEA: &str = "203.0.113.8";

/// Shaped like a key and known to nobody.
fn guess(n: usize) -> String {
    format!("rec_{n:0>43}")
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_limits_no_answer_speaks_of_limits() {
    let rig = rig(Rates::default()).await;
    for _ in 0..50 {
        let answer = rig.get("/sessions", &rig.key, ANA).await;
        assert_eq!((answer.status, answer.told()), (200, None));
        let answer = rig.get("/sessions", &guess(1), ANA).await;
        assert_eq!((answer.status, answer.told()), (401, None));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_its_limit_whatever_it_asks_and_signs_of_life_are_free() {
    let rig = rig(Rates { ip: rate("5/min"), ..Rates::default() }).await;
    let asked = [
        rig.get("/sessions", &rig.key, ANA).await,
        rig.get("/sessions", "", ANA).await,
        rig.get("/sessions", &guess(1), ANA).await,
        rig.get("/sessions", "not a key", ANA).await,
        rig.get("/nothing/here", &rig.key, ANA).await,
    ];
    assert_eq!(asked.each_ref().map(|answer| answer.status), [200, 401, 401, 401, 404]);
    assert_eq!(
        asked.each_ref().map(|answer| answer.told().unwrap()),
        [(5, 4), (5, 3), (5, 2), (5, 1), (5, 0)]
    );
    for (path, key) in
        [("/sessions", &*rig.key), ("/sessions", ""), ("/sessions", "no key"), ("/no/such", "")]
    {
        rig.get(path, key, ANA).await.is_refused_by("ip", 60);
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = rig.get(path, "", ANA).await;
        assert!([200, 503].contains(&answer.status) && answer.told().is_none(), "{path}: {}", answer.status);
    }
    assert_eq!(rig.get("/sessions", &rig.key, BEA).await.told(), Some((5, 4)), "another address");
    // Of IPv6, a customer has 64 bits.
    let left = async |from| rig.get("/sessions", &rig.key, from).await.told().unwrap().1;
    assert_eq!(left("2001:db8:1:2::1").await, 4);
    assert_eq!(left("2001:db8:1:2:ffff::9").await, 3);
    assert_eq!(left("2001:db8:1:3::1").await, 4);
    // What the client wrote before the proxy did is nobody's address.
    rig.get("/sessions", &rig.key, &format!("198.51.100.1, {ANA}")).await.is_refused_by("ip", 60);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_tokens_are_tried_no_more_often_than_keys() {
    let rig = rig(Rates { auth_failures: rate("4/min"), ..Rates::default() }).await;
    let login = json!({"email": "nobody@example.org", "password": "una-frase-larga-7"});
    let (refresh, proof) = (json!({"refreshToken": "rrt_x"}), json!({"token": "AAAA"}));
    let tries = [("/auth/login", 401, login), ("/auth/refresh", 401, refresh), ("/auth/verify", 400, proof)];
    let ask = async |place: usize, from: &str| {
        let (path, _, body) = &tries[place];
        rig.ask("POST", path, ("", from), Some(body.clone())).await
    };
    for (n, place) in [0, 1, 2, 0].into_iter().enumerate() {
        let answer = ask(place, ANA).await;
        assert_eq!(
            (answer.status, answer.told()),
            (tries[place].1, Some((4, 3 - n as u64))),
            "{}",
            answer.body
        );
    }
    for place in 0..tries.len() {
        ask(place, ANA).await.is_refused_by("auth_failures", 60);
    }
    rig.get("/auth/me", &rig.key, ANA).await.is_refused_by("auth_failures", 60);
    assert_eq!(ask(0, BEA).await.status, 401, "from elsewhere");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_tries_keys_out_is_soon_refused_and_a_key_seen_lately_is_not() {
    let rig = rig(Rates { auth_failures: rate("4/min"), ..Rates::default() }).await;
    let fresh = rig.service.new_key().await.unwrap();
    let fine = rig.get("/sessions", &rig.key, ANA).await;
    assert_eq!((fine.status, fine.told()), (200, None), "who is right hears nothing of it");
    for n in 0..4 {
        let key = if n == 3 { "rec_short".to_owned() } else { guess(n) };
        let answer = rig.get("/sessions", &key, ANA).await;
        assert_eq!((answer.status, answer.told()), (401, Some((4, 3 - n as u64))));
    }
    for key in [guess(5), "rec_short".to_owned(), fresh.clone()] {
        rig.get("/sessions", &key, ANA).await.is_refused_by("auth_failures", 60);
    }
    let url = format!("/ws/sessions?token={}", guess(6));
    rig.get(&url, "", ANA).await.is_refused_by("auth_failures", 60);
    assert_eq!(rig.get("/sessions", &rig.key, ANA).await.status, 200, "seen lately");
    assert_eq!(rig.get("/sessions", &fresh, BEA).await.status, 200, "from elsewhere");
    assert_eq!(rig.get("/sessions", &fresh, ANA).await.status, 200, "and so seen lately");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_guesses_made_at_once_no_more_are_answered_than_one_after_the_other() {
    let rig = rig(Rates { auth_failures: rate("7/min"), ..Rates::default() }).await;
    let keys: Vec<String> = (0..60).map(guess).collect();
    let all = futures_util::future::join_all(keys.iter().map(|key| rig.get("/sessions", key, ANA))).await;
    let count = |status| all.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(401), count(429)), (7, 53));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_tenant_have_each_their_limit_and_one_together() {
    let rig = rig(Rates { token: rate("4/h"), tenant: rate("6/min"), ..Rates::default() }).await;
    let (other, foreign) = (rig.service.new_key().await.unwrap(), TenantId(Uuid::now_v7()));
    let foreign = rig.service.new_key_of(foreign).await.unwrap();
    let ask = async |key: &str| rig.get("/sessions", key, ANA).await;
    for remaining in [3, 2, 1, 0] {
        assert_eq!(ask(&rig.key).await.told(), Some((4, remaining)));
    }
    for _ in 0..10 {
        ask(&rig.key).await.is_refused_by("token", 3600);
    }
    assert_eq!(
        ask(&other).await.told(),
        Some((6, 1)),
        "refusals did not count; the tenant is tighter by now"
    );
    assert_eq!(ask(&other).await.told(), Some((6, 0)));
    ask(&other).await.is_refused_by("tenant", 60);
    assert_eq!(ask(&foreign).await.told(), Some((4, 3)), "another tenant");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_given_so_many_messages_by_whichever_route() {
    let rig = rig(Rates { session: rate("3/min"), token: rate("1000/min"), ..Rates::default() }).await;
    let (session, other) = (rig.session().await, rig.session().await);
    let content = json!({"type": "text", "text": "hola"});
    let by_session = json!({"to": "+15550100199", "content": content});
    let by_chat = |session: &str| json!({"sessionId": session, "content": content});
    let path = format!("/sessions/{session}/messages");
    let chat = "/chats/15550100199@s.whatsapp.net/messages";
    let sent = [
        rig.ask("POST", &path, (&rig.key, ANA), Some(by_session.clone())).await,
        rig.ask("POST", chat, (&rig.key, ANA), Some(by_chat(&session))).await,
        rig.ask("POST", &path, (&rig.key, ANA), Some(by_session.clone())).await,
    ];
    assert_eq!(sent.each_ref().map(|answer| answer.status), [202; 3]);
    assert_eq!(sent.each_ref().map(|answer| answer.told().unwrap()), [(3, 2), (3, 1), (3, 0)]);
    rig.ask("POST", &path, (&rig.key, ANA), Some(by_session.clone())).await.is_refused_by("session", 60);
    rig.ask("POST", chat, (&rig.key, ANA), Some(by_chat(&session))).await.is_refused_by("session", 60);
    assert_eq!(rig.ask("POST", chat, (&rig.key, ANA), Some(by_chat(&other))).await.status, 202);
    // A stranger who knows the session's id uses up nothing of it, and reading is not sending.
    let stranger = rig.service.new_key_of(TenantId(Uuid::now_v7())).await.unwrap();
    assert_eq!(rig.ask("POST", &path, (&stranger, ANA), Some(by_session)).await.status, 404);
    let read = rig.get(chat, &rig.key, ANA).await;
    assert_eq!(read.told().map(|(limit, _)| limit), Some(1000));
    assert_eq!(read.body["items"].as_array().map(Vec::len), Some(4), "what was refused is not there");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_requests_made_at_once_the_limit_passes_and_a_new_window_brings_it_again() {
    let rig = rig(Rates { token: rate("10/5s"), ip: rate("1000/min"), ..Rates::default() }).await;
    let at_once = async || {
        let all = futures_util::future::join_all((0..60).map(|_| rig.get("/sessions", &rig.key, ANA))).await;
        let wait = all.iter().filter_map(|answer| answer.header("retry-after")).max();
        (all.iter().filter(|answer| answer.status == 200).count(), wait)
    };
    let (passed, wait) = at_once().await;
    assert_eq!(passed, 10);
    tokio::time::sleep(Duration::from_secs(wait.unwrap())).await;
    assert_eq!(at_once().await.0, 10, "whoever waits as long as told is admitted");
    let metrics = rig.http.get(format!("{}/metrics", rig.service.url())).send().await.unwrap();
    assert!(metrics.text().await.unwrap().contains("limits_refused_total{scope=\"token\"}"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_one_request_however_long_it_lasts() {
    let rig = rig(Rates { token: rate("3/min"), ..Rates::default() }).await;
    let url = rig.service.url().replace("http://", "ws://");
    let open = async || {
        let request = format!("{url}/ws/sessions?after=0&token={}", rig.key).into_client_request().unwrap();
        tokio_tungstenite::connect_async(request).await
    };
    let (_first, answer) = open().await.unwrap();
    assert_eq!(answer.headers()["ratelimit-remaining"], "2");
    rig.session().await;
    assert_eq!(rig.get("/sessions", &rig.key, ANA).await.told(), Some((3, 0)));
    let refusal = open().await.err().unwrap();
    assert!(matches!(refusal, tokio_tungstenite::tungstenite::Error::Http(answer) if answer.status() == 429));
    rig.stop().await;
}
