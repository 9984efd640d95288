//! Postgres and Redis behind TLS, as hosted ones are: a `recado serve` of its own, real servers, and in front of each a
//! part that speaks TLS and nothing else, with a certificate made for the test.

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

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use node::Node;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use servers::postgres::{Postgres, Setup};
use servers::redis::{Keeps, Redis};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;

/// How long anything may take before a test fails.
const SOON: Duration = Duration::from_secs(60);

/// What a client of Postgres sends first when it wants TLS: a length and a number.
const WANTS_TLS: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// What a server shows, and the file by which a client trusts it.
struct Certificate {
    acceptor: TlsAcceptor,
    file: NamedTempFile,
}

impl Certificate {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), made.cert.pem()).unwrap();
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), file }
    }

    fn path(&self) -> &str {
        self.file.path().to_str().unwrap()
    }
}

/// What stands in front of a server.
struct Front {
    port: u16,
    /// Connections that were refused by the client's look at the certificate, and those that went through.
    refused: Arc<AtomicUsize>,
    passed: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Front {
    /// In front of the server at `port`; one that is `asked` for TLS first is Postgres.
    async fn of(port: u16, asked: bool, certificate: &Certificate) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (refused, passed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let front = listener.local_addr().unwrap().port();
        let (acceptor, counters) = (certificate.acceptor.clone(), (refused.clone(), passed.clone()));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut talks = JoinSet::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let (acceptor, (refused, passed)) = (acceptor.clone(), counters.clone());
                talks.spawn(async move {
                    if asked {
                        let mut first = [0; 8];
                        socket.read_exact(&mut first).await.unwrap();
                        assert_eq!(first, WANTS_TLS, "it speaks in clear");
                        socket.write_all(b"S").await.unwrap();
                    }
                    let Ok(mut client) = acceptor.accept(socket).await else {
                        refused.fetch_add(1, Ordering::SeqCst);
                        return;
                    };
                    passed.fetch_add(1, Ordering::SeqCst);
                    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    // Either side may go without a goodbye.
                    let _ended = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { port: front, refused, passed, _task: task }
    }

    fn passed(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }

    fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

/// A node between two fronts.
struct Ground {
    postgres: Front,
    redis: Front,
    node: Node,
    http: reqwest::Client,
    behind: Redis,
    _database: Postgres,
}

impl Ground {
    /// Each server shows its certificate; the node trusts the last.
    async fn new(postgres: &Certificate, redis: &Certificate, trusted: &Certificate) -> Self {
        recado::commands::service::install_crypto();
        let database = Postgres::own(Setup { fsync: false, max_connections: 50 });
        let behind = Redis::start(Keeps::Nothing);
        let url = database.create_database(None).await;
        let postgres = Front::of(database.port(), true, postgres).await;
        let redis = Front::of(behind.port(), false, redis).await;
        let url = url.replace(&format!(":{}/", database.port()), &format!(":{}/", postgres.port));
        let node = Node::start(
            &format!("{url}?sslmode=verify-full"),
            &format!("rediss://127.0.0.1:{}/0", redis.port),
            &[("SSL_CERT_FILE", trusted.path())],
        );
        let http = reqwest::Client::builder().timeout(SOON).build().unwrap();
        Self { postgres, redis, node, http, behind, _database: database }
    }

    async fn get(&self, path: &str) -> Option<(u16, Value)> {
        let answer = self.http.get(format!("{}{path}", self.node.url)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.json().await.unwrap_or_default()))
    }

    /// Whether the node says that it is not ready for want of this part.
    async fn lacks(&self, part: &str) -> bool {
        let Some((503, ready)) = self.get("/readyz").await else { return false };
        let mut checks = ready["checks"].as_array().into_iter().flatten();
        checks.any(|check| check["name"] == part && check["ok"] == false)
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds().await {
        assert!(Instant::now() < deadline, "not seen in time: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_and_redis_are_reached_over_tls_by_a_certificate_that_is_trusted() {
    let certificate = Certificate::new();
    let ground = Ground::new(&certificate, &certificate, &certificate).await;
    until("the first key", async || ground.node.key().is_some()).await;
    until("a node that is ready", async || ground.get("/readyz").await.is_some_and(|(code, _)| code == 200))
        .await;
    let key = ground.node.key().unwrap();
    let body = json!({"name": "behind tls", "start": false}).to_string();
    let request = ground.http.post(format!("{}/sessions", ground.node.url)).bearer_auth(key);
    let made = request.header("content-type", "application/json").body(body).send().await.unwrap();
    assert!(made.status().is_success(), "{}", made.status());
    let client = redis::Client::open(ground.behind.url()).unwrap();
    let mut beside = client.get_multiplexed_async_connection().await.unwrap();
    until("its event in the stream", async || {
        let mut events = 0;
        for shard in 0..2 {
            let mut length = redis::cmd("XLEN");
            length.arg(format!("domain-events:{{{shard}}}"));
            events += length.query_async::<usize>(&mut beside).await.unwrap();
        }
        events > 0
    })
    .await;
    assert!(ground.postgres.passed() > 0 && ground.redis.passed() > 0);
    assert_eq!((ground.postgres.refused(), ground.redis.refused()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_nobody_vouches_for_is_told_nothing() {
    let (known, stranger) = (Certificate::new(), Certificate::new());
    let ground = Ground::new(&stranger, &known, &known).await;
    until("tables that are waited for", async || ground.lacks("tables").await).await;
    until("a second try", async || ground.postgres.refused() > 1).await;
    assert_eq!(ground.postgres.passed(), 0);
    assert_eq!(ground.get("/livez").await.unwrap().0, 200);

    let ground = Ground::new(&known, &stranger, &known).await;
    until("streams that are waited for", async || {
        ground.lacks("stream").await && !ground.lacks("tables").await
    })
    .await;
    until("a second try", async || ground.redis.refused() > 1).await;
    assert_eq!(ground.redis.passed(), 0);
    assert_eq!(ground.get("/livez").await.unwrap().0, 200);
}
