//! Limits of two `recado serve` on one Postgres and one Redis, spoken to through HTTP only: N in total, not per node; and
//! what becomes of them when Redis is away.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::or_fun_call,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers are no tests to the linter"
)]

#[path = "servers/node.rs"]
mod node;
mod servers;

use std::sync::LazyLock;
use std::time::Duration;

use node::Node;
use recado::commands::service::install_crypto;
use servers::postgres::{Postgres, Setup};
use servers::redis::{Keeps, Redis};
use tokio::time::{Instant, sleep};

/// How long anything may take before a test fails.
const SOON: Duration = Duration::from_secs(60);

/// What a node says when Redis is lost, and when it is found.
const ALONE: &str = "this node counts requests against their limits by itself";
const TOGETHER: &str = "redis counts requests against their limits again";

static POSTGRES: LazyLock<Postgres> =
    LazyLock::new(|| Postgres::any(Setup { fsync: false, max_connections: 100 }));

struct Ground {
    nodes: [Node; 2],
    key: String,
    http: reqwest::Client,
    redis: Redis,
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

impl Ground {
    async fn new(limits: &[(&str, &str)]) -> Self {
        install_crypto();
        let redis = Redis::start(Keeps::Nothing);
        let database = POSTGRES.create_database(None).await;
        let http = reqwest::Client::builder().timeout(SOON).build().unwrap();
        let answers = async |node: &Node| {
            let livez = http.get(format!("{}/livez", node.url)).send().await;
            livez.is_ok_and(|answer| answer.status() == 200).then_some(())
        };
        let first = Node::start(&database, &redis.url(), limits);
        let key = until("the first key", async || first.key()).await;
        let second = Node::start(&database, &redis.url(), limits);
        let nodes = [first, second];
        for node in &nodes {
            until("a node that answers", async || answers(node).await).await;
            // Past the time in which it only waits for its tables.
            until("a node that serves", async || {
                let answer = http.get(format!("{}/docs/", node.url)).send().await;
                answer.is_ok_and(|answer| answer.status() == 200).then_some(())
            })
            .await;
        }
        Self { nodes, key, http, redis }
    }

    async fn status(&self, node: usize, key: &str) -> u16 {
        let url = format!("{}/sessions", self.nodes[node].url);
        self.http.get(url).bearer_auth(key).send().await.unwrap().status().as_u16()
    }

    /// How many of so many requests to these nodes in turn, all at once, got this status; none may get anything but
    /// this and 429.
    async fn passed(&self, requests: usize, nodes: &[usize], key: &str, status: u16) -> usize {
        let asked = (0..requests).map(|n| self.status(nodes[n % nodes.len()], key));
        let all = futures_util::future::join_all(asked).await;
        assert!(all.iter().all(|got| [status, 429].contains(got)), "{all:?}");
        all.iter().filter(|got| **got == status).count()
    }

    /// Waits until both nodes have said for the `nth` time that they count in Redis again.
    async fn count_together(&self, nth: usize) {
        for (place, node) in self.nodes.iter().enumerate() {
            until("redis counts again", async || {
                self.status(place, &self.key).await;
                (node.log().matches(TOGETHER).count() >= nth).then_some(())
            })
            .await;
        }
    }

    async fn metric(&self, node: usize, name: &str) -> u64 {
        let text = self.http.get(format!("{}/metrics", self.nodes[node].url)).send().await.unwrap();
        let text = text.text().await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n_are_allowed_in_total_and_not_per_node() {
    let limits = [("RECADO_LIMIT_TOKEN", "30/h"), ("RECADO_LIMIT_AUTH_FAILURES", "12/h")];
    let ground = Ground::new(&limits).await;
    let passed = ground.passed(100, &[0, 1], &ground.key, 200).await;
    for node in [0, 1] {
        assert_eq!(ground.metric(node, "limits_fallbacks_total").await, 0, "redis counted all of it");
        assert_eq!(ground.status(node, &ground.key).await, 429);
    }
    assert_eq!(passed, 30, "all at once, on both");
    let guess = format!("rec_{}", "x".repeat(43));
    assert_eq!(ground.passed(60, &[0, 1], &guess, 401).await, 12, "guesses too");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_node_goes_on_with_its_own_count_and_joins_again() {
    let ground = Ground::new(&[("RECADO_LIMIT_TOKEN", "40/h")]).await;
    assert_eq!(ground.passed(10, &[0, 1], &ground.key, 200).await, 10);
    ground.redis.pause();
    for node in [0, 1] {
        let asked = Instant::now();
        assert_eq!(ground.passed(100, &[node], &ground.key, 200).await, 40, "node {node}");
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        assert!(ground.metric(node, "limits_fallbacks_total").await >= 100);
    }
    ground.redis.resume();
    ground.count_together(1).await;
    // What a server that hung had taken in, it has counted since; only from here on is the count known.
    ground.redis.flush();
    assert_eq!(ground.passed(100, &[0, 1], &ground.key, 200).await, 40, "in total again");
    ground.redis.kill();
    for node in [0, 1] {
        // Its own count has lasted: nobody gets more by cutting Redis again and again.
        assert_eq!(ground.passed(100, &[node], &ground.key, 200).await, 0, "node {node}");
    }
    ground.redis.again();
    ground.count_together(2).await;
    for node in &ground.nodes {
        let log = node.log();
        let said = log.matches(ALONE).count();
        assert!((2..=4).contains(&said), "{said} times, but once per change and not per request:\n{log}");
    }
}
