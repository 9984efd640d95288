//! Values that must not be seen are planted, a whole story runs with everything logged that can be, and then what came
//! out of the service is searched for them: its log, its metrics, its tree, its events.
//!
//! A new kind of secret or personal data is one more row of [`values::Planted`], and one more step of [`story`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers are no tests to the linter"
)]

#[path = "../servers/mod.rs"]
mod servers;

mod people;
mod process;
mod settings;
mod story;
mod values;

use std::sync::LazyLock;
use std::time::Duration;

use process::Service;
use serde_json::Value;
use servers::postgres::{Postgres, Setup};
use servers::redis::Redis;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use values::{Planted, Seen};

/// How long anything may take before a test fails.
const SOON: Duration = Duration::from_secs(60);

static POSTGRES: LazyLock<Postgres> =
    LazyLock::new(|| Postgres::any(Setup { fsync: false, max_connections: 100 }));

/// Asks until the answer is `Some`.
async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "not seen in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The log is one that could have shown something: every line is an object, and our own code spoke at every level below
/// `warn` and of requests.
fn assert_is_full(log: &str) {
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON: {error}: {line}")))
        .collect();
    assert!(lines.len() > 50, "{} lines", lines.len());
    for line in &lines {
        for name in ["timestamp", "level", "component", "target", "message"] {
            assert!(line[name].is_string(), "{name} is missing: {line}");
        }
    }
    let level = |level: &str| lines.iter().filter(|line| line["level"] == level).count();
    assert!(level("DEBUG") > 20 && level("INFO") > 0, "{} DEBUG, {} INFO", level("DEBUG"), level("INFO"));
    let mine = lines.iter().filter(|line| line["request_id"] == story::REQUEST).collect::<Vec<_>>();
    assert!(mine.len() >= 2, "the lines of one request: {mine:?}");
    assert!(mine.iter().all(|line| line["trace_id"] == story::TRACE), "{mine:?}");
    let of_requests = lines.iter().filter(|line| line["component"] == "api" && line.get("route").is_some());
    for line in of_requests {
        assert!(line["trace_id"].is_string() && line["request_id"].is_string(), "{line}");
    }
}

async fn nothing_is_seen(variables: Vec<(&'static str, String)>, mut planted: Planted) {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let mut all = vec![
        ("RUST_LOG", "trace,whatsapp_rust=trace,wacore=trace,Client=trace,sqlx=trace,hyper=trace".to_owned()),
        ("LOG_FORMAT", "json".to_owned()),
        ("RECADO_API_KEY_FILE", key.to_str().unwrap().to_owned()),
        ("RECADO_ENCRYPTION_KEY", planted.encryption_key()),
        ("RECADO_STOP_NOTICE_SECS", "0".to_owned()),
    ];
    all.extend(variables);
    let service = Service::start(folder.path(), all);
    let out = story::run(&service, &key, &mut planted).await;
    service.stop().await;
    let (told, log) = service.output();
    assert_eq!(told.len(), 1, "the first key is told once: {}", told.len());
    assert_is_full(&log);
    planted.assert_unseen("the log", &log, Seen::Nothing);
    for (what, text) in &out.public {
        planted.assert_unseen(what, text, Seen::Nothing);
    }
    for (what, text) in &out.for_its_owner {
        planted.assert_unseen(what, text, Seen::Personal);
    }
    assert!(
        out.public.len() >= 4 && out.for_its_owner.len() >= 20,
        "{} {}",
        out.public.len(),
        out.for_its_owner.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_no_planted_value_is_seen() {
    nothing_is_seen(Vec::new(), Planted::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_and_redis_no_planted_value_is_seen() {
    const REDIS: &str = "plantedRedisPassword7Qx";
    const DATABASE: &str = "plantedDatabasePassword7Qx";
    let redis = Redis::guarded(REDIS);
    let url = POSTGRES.create_database(None).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let role = format!("create role planted login superuser password '{DATABASE}'");
    sqlx::query(AssertSqlSafe(role)).execute(&mut connection).await.unwrap();
    let (_, place) = url.split_once('@').unwrap();
    let mut planted = Planted::new();
    planted.secret("the password of Postgres", DATABASE);
    planted.secret("the password of Redis", REDIS);
    let variables = |password: &str| {
        vec![
            ("DATABASE_URL", format!("postgres://planted:{password}@{place}")),
            ("REDIS_URL", redis.url()),
            ("RECADO_SHARDS", "2".to_owned()),
            ("RECADO_DB_POOL", "8".to_owned()),
        ]
    };
    nothing_is_seen(variables(DATABASE), planted).await;
    // A password that Postgres refuses is nothing to show either.
    let folder = tempfile::tempdir().unwrap();
    let mut planted = Planted::new();
    planted.secret("a wrong password of Postgres", "plantedWrongPassword7Qx");
    let mut all = variables("plantedWrongPassword7Qx");
    all.extend([("RUST_LOG", "trace".to_owned()), ("RECADO_ENCRYPTION_KEY", planted.encryption_key())]);
    let service = Service::start(folder.path(), all);
    let said = until("a word on the refusal", async || {
        let (_, log) = service.output();
        (log.contains("the tables are not there yet") || service.has_ended()).then_some(log)
    })
    .await;
    assert!(!said.is_empty());
    planted.assert_unseen("the log of a refused start", &said, Seen::Nothing);
}
