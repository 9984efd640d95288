//! The contract of the limits' counters, in memory and on Redis, and what is Redis' own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::or_fun_call,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers are no tests to the linter"
)]

mod servers;
#[path = "suite/limits/mod.rs"]
#[macro_use]
mod limits;

use std::sync::Arc;
use std::time::Duration;

use recado::domain::Kind;
use recado::domain::limit::{Subject, Verdict};
use recado::infra::limits::Limits;
use recado::infra::limits::memory::MemoryLimits;
use recado::infra::limits::redis::{RedisLimits, Settings};
use servers::redis::{Keeps, Redis, shared};
use tokio::time::Instant;
use uuid::Uuid;

mod memory {
    use super::*;

    async fn open() -> limits::Counters {
        Arc::new(MemoryLimits::default())
    }

    limits_suite!(open);
}

mod redis_server {
    use super::*;

    async fn open() -> limits::Counters {
        Arc::new(opened(&shared(), &apart()))
    }

    limits_suite!(open);
}

const KEY: [u8; 32] = [7; 32];

fn opened(url: &str, prefix: &str) -> RedisLimits {
    // A shared machine is slow at times, and these are not about that.
    let settings = Settings { prefix: prefix.to_owned(), deadline: Duration::from_secs(5) };
    RedisLimits::open(url, &KEY, settings).unwrap()
}

fn apart() -> String {
    format!("t{}:", Uuid::new_v4().simple())
}

async fn outsider(url: &str) -> redis::aio::MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

#[tokio::test]
async fn all_nodes_count_together() {
    let prefix = apart();
    let nodes: Vec<_> = (0..3).map(|_| Arc::new(opened(&shared(), &prefix))).collect();
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..300 {
        let node = nodes[n % 3].clone();
        asking.spawn(async move { node.check(&[limits::ip(1, "100/min")]).await.unwrap() });
    }
    let verdicts = asking.join_all().await;
    let passed = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Admitted(_))).count();
    assert_eq!(passed, 100);
}

#[tokio::test]
async fn what_stands_in_redis_is_one_slot_of_hashes_that_end_by_themselves() {
    let prefix = apart();
    let counters = opened(&shared(), &prefix);
    let token = Uuid::now_v7();
    let charges = [limits::ip(0xffff_0a01_0203, "5/min"), limits::charge(Subject::Token(token), "5/10s")];
    counters.check(&charges).await.unwrap();
    let mut outsider = outsider(&shared()).await;
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("{prefix}*")).query_async(&mut outsider).await.unwrap();
    assert_eq!(keys.len(), 2, "{keys:?}");
    for key in &keys {
        assert!(key.starts_with(&format!("{prefix}{{recado-limits}}:")), "{key}");
        assert!(!key.contains("0a010203") && !key.contains("10.1.2.3"), "{key}");
        assert!(!key.contains(&token.to_string()) && !key.contains(&token.simple().to_string()), "{key}");
        let value: String = redis::cmd("GET").arg(key).query_async(&mut outsider).await.unwrap();
        assert_eq!(value, "1");
        let left: i64 = redis::cmd("PTTL").arg(key).query_async(&mut outsider).await.unwrap();
        assert!((1..=60_000).contains(&left), "{key} ends in {left} ms");
    }
}

#[tokio::test]
async fn a_counter_that_would_never_end_is_begun_anew() {
    let prefix = apart();
    let (counters, one) = (opened(&shared(), &prefix), [limits::ip(1, "2/min")]);
    counters.check(&one).await.unwrap();
    let mut outsider = outsider(&shared()).await;
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("{prefix}*")).query_async(&mut outsider).await.unwrap();
    let () = redis::cmd("SET").arg(&keys[0]).arg(1000).query_async(&mut outsider).await.unwrap();
    assert!(
        matches!(counters.check(&one).await.unwrap(), Verdict::Admitted(Some(told)) if told.remaining == 1)
    );
    let left: i64 = redis::cmd("PTTL").arg(&keys[0]).query_async(&mut outsider).await.unwrap();
    assert!(left > 0);
    // Of another kind altogether: an error, which the limiter answers with its own count.
    let () = redis::cmd("DEL").arg(&keys[0]).query_async(&mut outsider).await.unwrap();
    let () = redis::cmd("RPUSH").arg(&keys[0]).arg("x").query_async(&mut outsider).await.unwrap();
    let () = redis::cmd("PEXPIRE").arg(&keys[0]).arg(60_000).query_async(&mut outsider).await.unwrap();
    assert!(counters.check(&one).await.is_err());
}

#[tokio::test]
async fn a_server_that_hangs_or_is_gone_is_told_within_the_deadline() {
    let server = Redis::start(Keeps::Nothing);
    let settings = Settings { deadline: Duration::from_secs(1), ..Settings::default() };
    let counters = RedisLimits::open(&server.url(), &KEY, settings).unwrap();
    let one = [limits::ip(1, "100/min")];
    counters.check(&one).await.unwrap();
    server.pause();
    let asked = Instant::now();
    let error = counters.check(&one).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    server.resume();
    server.restart();
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = counters.check(&one).await {
        assert_eq!(error.kind, Kind::Unavailable);
        assert!(Instant::now() < deadline, "never again: {error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.kill();
    assert_eq!(counters.check(&one).await.unwrap_err().kind, Kind::Unavailable);
    let error = RedisLimits::open("redis//:hush@x", &KEY, Settings::default()).err().unwrap();
    assert!(!error.to_string().contains("hush"), "{error}");
}
