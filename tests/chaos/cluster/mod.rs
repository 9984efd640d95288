//! Several nodes on one Postgres and one Redis, a front before them, and a sandbox that plays WhatsApp.

pub(crate) mod audit;
pub(crate) mod effects;
pub(crate) mod node;
pub(crate) mod small_disk;
pub(crate) mod standby;
pub(crate) mod streams;
pub(crate) mod tables;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use self::node::{Node, Program};
use crate::net::front::Front;
use crate::rig::api::Api;
use crate::rig::world::{Sandbox, Service, folder};
use crate::servers::postgres::{Postgres, Setup};
use crate::servers::redis::{Keeps, Redis};

/// How long a node's lease lasts, in seconds.
pub(crate) const LEASE: u64 = 5;

/// How many slices of sessions.
pub(crate) const SHARDS: u16 = 16;

/// How long shares may take to be evened out.
const SHARED: Duration = Duration::from_secs(90);

/// What a cluster is made of.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) nodes: usize,
    pub(crate) program: Program,
    /// Further variables of every node.
    pub(crate) variables: Vec<(&'static str, String)>,
}

impl Default for Made {
    fn default() -> Self {
        Self { nodes: 3, program: Program::Recado, variables: Vec::new() }
    }
}

/// The whole. Everything in it ends with it.
pub(crate) struct Cluster {
    // First in the order of fields, so that nodes end before what they stand on.
    pub(crate) nodes: Vec<Node>,
    pub(crate) front: Front,
    pub(crate) sandbox: Sandbox,
    pub(crate) postgres: Arc<Postgres>,
    pub(crate) redis: Arc<Redis>,
    /// The tables, past all proxies.
    pub(crate) tables: String,
    /// Whether the nodes have a group of the test's own.
    pub(crate) effects: bool,
    key: String,
    _folder: TempDir,
}

impl Cluster {
    /// Starts the servers and the first node; [`Cluster::complete`] starts the others.
    pub(crate) async fn start(made: &Made) -> Result<Self> {
        let folder = folder()?;
        let sandbox = Sandbox::start(folder.path()).await?;
        let servers = tokio::task::spawn_blocking(|| {
            let setup = Setup { max_connections: 200, fsync: false };
            (Arc::new(Postgres::own(setup)), Arc::new(Redis::start(Keeps::Log)))
        });
        let (postgres, redis) = servers.await?;
        let tables = postgres.create_database(None).await;
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let servers = (at(postgres.port()), port_of(&redis.url()).map(at)?);
        let mut nodes = Vec::new();
        for place in 0..made.nodes {
            let mut node = Node::new(folder.path(), place, made.program.clone(), servers)?;
            node.variables = variables(&node, &tables, &made.variables);
            nodes.push(node);
        }
        let front = Front::start(&nodes.iter().map(Node::addr).collect::<Vec<_>>())?;
        let (key, effects) = (String::new(), matches!(made.program, Program::Worker));
        let mut cluster =
            Self { nodes, front, sandbox, postgres, redis, tables, effects, key, _folder: folder };
        cluster.nodes[0].launch()?;
        cluster.nodes[0].ready().await?;
        cluster.key = first_key(&cluster.nodes[0]).await?;
        Ok(cluster)
    }

    /// Starts the other nodes and waits until each has its share.
    pub(crate) async fn complete(&mut self) -> Result<()> {
        for node in &mut self.nodes[1..] {
            node.launch()?;
        }
        for node in &mut self.nodes[1..] {
            node.ready().await?;
        }
        self.shared(self.nodes.len()).await
    }

    /// Any node, for clients that do not care which.
    pub(crate) fn service(&self) -> Service {
        Service::elsewhere(self.front.addr(), &self.key)
    }

    /// One node.
    pub(crate) fn api(&self, node: usize) -> Api {
        Api::new(self.nodes[node].addr(), Some(self.key.clone()))
    }

    /// Where Redis is, past all proxies.
    pub(crate) fn redis_addr(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port_of(&self.redis.url())?)))
    }

    /// The nodes that run.
    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|place| self.nodes[*place].is_running()).collect()
    }

    /// Waits until so many nodes hold about equal shares and no shard is without an owner.
    pub(crate) async fn shared(&self, owners: usize) -> Result<()> {
        let until = Instant::now() + SHARED;
        let least = usize::from(SHARDS) / owners;
        let mut last = Value::Null;
        while Instant::now() < until {
            if let Ok((200, view)) = self.service().api().call("GET", "/admin/nodes", None, "").await {
                let held = |node: &Value| node["shards"].as_array().map_or(0, Vec::len);
                let items = view["items"].as_array().map_or(&[][..], Vec::as_slice);
                let sharing = items.iter().filter(|node| held(node) >= least).count();
                let whole: usize = items.iter().map(held).sum();
                if sharing == owners && whole == usize::from(SHARDS) {
                    return Ok(());
                }
                last = view;
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("the shards are not shared by {owners} within {SHARED:?}: {last}{}", self.last_words())
    }

    /// Waits until every running node says that it is ready.
    pub(crate) async fn ready(&mut self) -> Result<Duration> {
        let started = Instant::now();
        for node in self.nodes.iter_mut().filter(|node| node.is_running()) {
            node.ready().await?;
        }
        Ok(started.elapsed())
    }

    /// The ends of all logs, for an error.
    pub(crate) fn last_words(&self) -> String {
        self.nodes.iter().map(|node| format!("\n{}: {}", node.name(), node.last_words())).collect()
    }
}

fn variables(node: &Node, tables: &str, more: &[(&'static str, String)]) -> Vec<(String, String)> {
    let (_, database) = tables.rsplit_once('/').unwrap_or_default();
    let level = std::env::var("LOG_LEVEL").unwrap_or_else(|_unset| "warn".to_owned());
    let mut all: Vec<(String, String)> = [
        ("RECADO_LISTEN", node.addr().to_string()),
        ("RECADO_DATA_DIR", node.data().display().to_string()),
        ("RECADO_API_KEY_FILE", node.key_file().display().to_string()),
        ("RECADO_ENCRYPTION_KEY", "5a".repeat(32)),
        ("RECADO_SHARDS", SHARDS.to_string()),
        ("RECADO_LEASE_SECS", LEASE.to_string()),
        ("RECADO_STOP_NOTICE_SECS", "1".to_owned()),
        ("DATABASE_URL", format!("postgres://recado:secret@{}/{database}", node.tables.addr())),
        ("REDIS_URL", format!("redis://{}/0", node.streams.addr())),
        ("LOG_LEVEL", level),
        // For workers; nobody else reads it.
        (crate::worker::SINK, tables.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    all.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    all
}

/// The key is written after the first start, perhaps a moment after the node is ready.
async fn first_key(node: &Node) -> Result<String> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let key = std::fs::read_to_string(node.key_file()).unwrap_or_default();
        if !key.trim().is_empty() {
            return Ok(key.trim().to_owned());
        }
        ensure!(Instant::now() < until, "no API key was written{}", node.last_words());
        sleep(Duration::from_millis(5)).await;
    }
}

/// Runs what waits for a server on a thread where it may.
pub(crate) async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("a server did not do as told")
}

/// The port in an address like `redis://127.0.0.1:6379/0`.
fn port_of(url: &str) -> Result<u16> {
    let (_, after) = url.rsplit_once(':').context("an address without a port")?;
    Ok(after.split('/').next().unwrap_or_default().parse()?)
}
