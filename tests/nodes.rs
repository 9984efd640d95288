//! Several nodes on one Postgres and one Redis, in this process, spoken to through HTTP only.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::or_fun_call,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers are no tests to the linter"
)]

mod servers;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use recado::commands::service::{Service, install_crypto};
use recado::config::{Config, EncryptionKey, SecretUrl};
use recado::domain::cluster::Roles;
use recado_sandbox::{Sandbox, SandboxConfig, ScanQr};
use serde_json::{Value, json};
use servers::postgres::{Postgres, Setup};
use servers::redis::{Keeps, Redis};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

const SOON: Duration = Duration::from_secs(60);

static POSTGRES: LazyLock<Postgres> =
    LazyLock::new(|| Postgres::any(Setup { fsync: false, max_connections: 300 }));

/// What the nodes of one test share.
struct Ground {
    database: String,
    redis: Redis,
    http: reqwest::Client,
}

struct Node {
    service: Service,
    key: String,
    _folder: TempDir,
}

fn client() -> reqwest::Client {
    install_crypto();
    reqwest::Client::builder().timeout(SOON).build().unwrap()
}

impl Ground {
    async fn new() -> Self {
        let database = POSTGRES.create_database(None).await;
        Self { database, redis: Redis::start(Keeps::Nothing), http: client() }
    }

    fn config(&self, folder: &TempDir) -> Config {
        let secret = |url: &str| Some(SecretUrl(Zeroizing::new(url.to_owned())));
        Config {
            database: secret(&self.database),
            database_pool: 8,
            redis: secret(&self.redis.url()),
            shards: 4,
            ledgers: 2,
            encryption_key: Some(EncryptionKey(Zeroizing::new([7; 32]))),
            lease: Duration::from_secs(3),
            ..Config::embedded(folder.path()).unwrap()
        }
    }

    async fn node(&self, roles: &str) -> Node {
        let folder = tempfile::tempdir().unwrap();
        let roles: Roles = roles.parse().unwrap();
        let service = Service::start(Config { roles, ..self.config(&folder) }, Vec::new()).await.unwrap();
        let key = service.new_key().await.unwrap();
        Node { service, key, _folder: folder }
    }

    async fn ask(&self, node: &Node, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let call = self.http.request(method, format!("{}{path}", node.service.url())).bearer_auth(&node.key);
        let call = match body {
            Some(body) => call.json(&body),
            None => call,
        };
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// Waits until every node owns this many shards.
    async fn shared(&self, node: &Node, wanted: &[usize]) -> Value {
        until("the shards are shared", async || {
            let (_, nodes) = self.ask(node, "GET", "/admin/nodes", None).await;
            let mut owned: Vec<_> = nodes["items"]
                .as_array()?
                .iter()
                .map(|node| node["shards"].as_array().map(Vec::len))
                .collect();
            owned.sort_unstable();
            (owned == wanted.iter().copied().map(Some).collect::<Vec<_>>()).then_some(nodes)
        })
        .await
    }
}

async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not seen in time: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn stop(nodes: impl IntoIterator<Item = Node>) {
    for node in nodes {
        assert!(node.service.stop().await, "the stop was late");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_answers_for_the_sessions_of_any_other() {
    let ground = Ground::new().await;
    let sandbox = Arc::new(Sandbox::start(SandboxConfig::default()).await.unwrap());
    let nodes = [
        ground.node("api,sessions,relay,consumers").await,
        ground.node("api,sessions,relay,consumers").await,
    ];
    ground.shared(&nodes[0], &[2, 2]).await;
    let key: String = sandbox.static_key().iter().map(|byte| format!("{byte:02x}")).collect();
    let endpoint = json!({"kind": "sandbox", "url": sandbox.ws_url(), "staticKey": key});
    let mut phone = None;
    for n in 0..6 {
        let (maker, other) = (&nodes[n % 2], &nodes[(n + 1) % 2]);
        let (status, made) =
            ground.ask(maker, "POST", "/sessions", Some(json!({"endpoint": endpoint}))).await;
        assert!(status < 300, "{made}");
        let session = made["sessionId"].as_str().unwrap().to_owned();
        // Whichever of the two owns it, both show it and both give a code for it.
        let qr = until("a code to scan", async || {
            let (status, code) = ground.ask(other, "GET", &format!("/sessions/{session}/qr"), None).await;
            (status == 200).then(|| code["qr"].as_str().unwrap_or_default().to_owned())
        })
        .await;
        let Some(phone) = &phone else {
            let by = ScanQr { phone: None, name: Some("Ana".to_owned()) };
            phone = Some(sandbox.scan_qr(&qr, by).await.unwrap().phone);
            continue;
        };
        let mut last = String::new();
        for node in &nodes {
            let asked = json!({"phone": phone});
            let path = format!("/sessions/{session}/pairing-code");
            let (status, code) = ground.ask(node, "POST", &path, Some(asked)).await;
            assert_eq!(status, 200, "{code}");
            last = code["pairingCode"].as_str().unwrap().to_owned();
        }
        sandbox.enter_code(phone, &last).await.unwrap();
        until("linked", async || {
            let (_, view) = ground.ask(maker, "GET", &format!("/sessions/{session}"), None).await;
            (view["state"] == "connected").then_some(())
        })
        .await;
    }
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn api_and_sessions_can_be_separate_processes() {
    let ground = Ground::new().await;
    let (api, worker) = (ground.node("api").await, ground.node("sessions,relay,consumers").await);
    let nodes = ground.shared(&api, &[0, 4]).await;
    assert_eq!(nodes["unowned"], json!([]));
    assert_eq!(ground.ask(&worker, "GET", "/sessions", None).await.0, 404, "a worker serves no clients");
    assert_eq!(ground.ask(&worker, "GET", "/livez", None).await.0, 200);
    let (status, made) = ground.ask(&api, "POST", "/sessions", Some(json!({"start": false}))).await;
    assert!(status < 300, "{made}");
    // Numbered and carried by the worker, read here.
    let event = until("its event", async || {
        let (_, page) = ground.ask(&api, "GET", "/events?after=0", None).await;
        page["items"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!((event["type"].as_str(), &event["sessionId"]), (Some("session.created"), &made["sessionId"]));
    for node in [&api, &worker] {
        until("ready", async || (ground.ask(node, "GET", "/readyz", None).await.0 == 200).then_some(()))
            .await;
    }
    stop([api, worker]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_nodes_may_ask_what_nodes_ask() {
    let ground = Ground::new().await;
    let node = ground.node("api").await;
    let asked = json!({"session": "0192f0c1-2222-7000-8000-000000000001", "phone": "15550100199"});
    let (status, problem) = ground.ask(&node, "POST", "/internal/pairing-code", Some(asked)).await;
    assert_eq!((status, problem["code"].as_str()), (401, Some("not_a_node")));
    stop([node]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_shards_cannot_change_under_the_tables() {
    let ground = Ground::new().await;
    stop([ground.node("api").await]).await;
    let folder = tempfile::tempdir().unwrap();
    let other = Service::start(Config { shards: 8, ..ground.config(&folder) }, Vec::new()).await;
    let refusal = format!("{:#}", other.err().unwrap());
    assert!(refusal.contains("must stay 4"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_its_servers_waits_and_says_for_what() {
    let postgres = Postgres::own(Setup { fsync: false, max_connections: 50 });
    let database = postgres.create_database(None).await;
    postgres.stop();
    let ground = Ground { database, redis: Redis::absent(), http: client() };
    let folder = tempfile::tempdir().unwrap();
    // A port that is known before anything answers on it.
    let port = servers::keeper::free_port();
    let url = format!("http://127.0.0.1:{port}");
    let config = Config { listen: ([127, 0, 0, 1], port).into(), ..ground.config(&folder) };
    let starting = tokio::spawn(Service::start(config, Vec::new()));
    let get = async |path: &str| {
        let answer = ground.http.get(format!("{url}{path}")).send().await.ok()?;
        Some((answer.status().as_u16(), answer.json::<Value>().await.unwrap_or_default()))
    };
    let failing = |ready: &Value, part: &str| {
        let checks = ready["checks"].as_array().into_iter().flatten();
        checks.into_iter().any(|check| check["name"] == part && check["ok"] == false)
    };
    until("the tables are waited for", async || {
        let (status, ready) = get("/readyz").await?;
        (status == 503 && failing(&ready, "tables")).then_some(())
    })
    .await;
    assert_eq!(get("/livez").await.unwrap().0, 200);
    let (status, problem) = get("/sessions").await.unwrap();
    assert_eq!((status, problem["code"].as_str()), (503, Some("starting")));
    postgres.start();
    let service = starting.await.unwrap().unwrap();
    until("the streams are waited for", async || {
        let (status, ready) = get("/readyz").await?;
        (status == 503 && failing(&ready, "stream") && !failing(&ready, "tables")).then_some(())
    })
    .await;
    ground.redis.again();
    until("everything is there", async || (get("/readyz").await?.0 == 200).then_some(())).await;
    assert!(service.stop().await, "the stop was late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_running_nodes_is_restored_into_another_database() {
    let ground = Ground::new().await;
    let node = ground.node("api,sessions,relay,consumers").await;
    ground.shared(&node, &[4]).await;
    let mut made = Vec::new();
    for n in 0..20 {
        let body = json!({"name": format!("session {n}"), "start": false});
        let (status, answer) = ground.ask(&node, "POST", "/sessions", Some(body)).await;
        assert!(status < 300, "{answer}");
        made.push(answer["sessionId"].as_str().unwrap().to_owned());
    }
    let backups = tempfile::tempdir().unwrap();
    let fresh = POSTGRES.create_database(None).await;
    let recado = |url: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_recado"));
        command.args(arguments).env_clear().env("DATABASE_URL", url).env("REDIS_URL", ground.redis.url());
        command.env("RECADO_ENCRYPTION_KEY", "07".repeat(32)).env("RECADO_SHARDS", "4");
        command.env("RECADO_DATA_DIR", backups.path().join("data"));
        let done = command.output().unwrap();
        let said =
            String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{arguments:?}: {said}");
    };
    let folder = backups.path().join("backups");
    recado(&ground.database, &["backup", "--to", folder.to_str().unwrap()]);
    let key = node.key.clone();
    stop([node]).await;
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    recado(&fresh, &["migrate"]);
    recado(&fresh, &["restore", file.to_str().unwrap()]);
    // Streams of before belong to the tables of before.
    let elsewhere = Ground { database: fresh, redis: Redis::start(Keeps::Nothing), http: client() };
    let node = Node { key, ..elsewhere.node("api,sessions,relay,consumers").await };
    elsewhere.shared(&node, &[4]).await;
    let (_, sessions) = elsewhere.ask(&node, "GET", "/sessions?limit=50", None).await;
    let there: Vec<_> =
        sessions["items"].as_array().unwrap().iter().map(|one| one["sessionId"].as_str()).collect();
    assert_eq!(there, made.iter().map(|id| Some(id.as_str())).collect::<Vec<_>>());
    let (_, page) = elsewhere.ask(&node, "GET", "/events?after=0&limit=200", None).await;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(20), "every event of before");
    let (status, answer) = elsewhere.ask(&node, "POST", "/sessions", Some(json!({"start": false}))).await;
    assert!(status < 300, "it goes on: {answer}");
    until("the next event", async || {
        let (_, page) = elsewhere.ask(&node, "GET", "/events?after=0&limit=200", None).await;
        (page["items"].as_array().map(Vec::len) == Some(21)).then_some(())
    })
    .await;
    stop([node]).await;
}
