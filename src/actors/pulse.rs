//! How this node is: looks at the actors, and tells.
//!
//! Promises: readiness is about progress. The ledger must have committed lately (a lease is renewed every few
//! seconds, so an idle node commits too), tables and streams must answer, every shard must have an owner here or elsewhere,
//! and events must not wait while their log stands still.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use ractor::ActorRef;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::archive::Queries;
use super::directory::Directory;
use super::health::{Check, Health, Readiness};
use super::ledger::Ledgers;
use super::supervisor;
use crate::domain::error::{Error, Result};
use crate::domain::event::Log;
use crate::domain::ids::{Position, Shard, TenantId};
use crate::infra::stream::{Stream, StreamKey};

/// How long the live tree may take to answer.
const TREE_WITHIN: Duration = Duration::from_secs(3);

/// How long tables and streams may take to answer.
const PART_WITHIN: Duration = Duration::from_secs(2);

/// Shards asked at once.
const SHARDS_AT_ONCE: usize = 8;

/// How long a log may stand still while rows wait.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// The head of an event log when it last moved.
struct Seen {
    head: Position,
    at: Instant,
}

/// What the pulse of a node is taken of.
pub struct Organs {
    /// The writers.
    pub ledgers: Ledgers,
    /// The reader.
    pub queries: Queries,
    /// What is owned here.
    pub directory: Directory,
    /// The streams.
    pub stream: Arc<dyn Stream>,
    /// How long a node may commit nothing.
    pub ttl: Duration,
}

/// The health of this node.
pub struct Pulse {
    root: arc_swap::ArcSwapOption<ActorRef<supervisor::Msg>>,
    organs: Organs,
    seen: Mutex<HashMap<Shard, Seen>>,
    stopping: AtomicBool,
}

impl Pulse {
    /// Watches a tree that is yet to start.
    #[must_use]
    pub fn new(organs: Organs) -> Arc<Self> {
        let root = arc_swap::ArcSwapOption::empty();
        Arc::new(Self { root, organs, seen: Mutex::default(), stopping: AtomicBool::new(false) })
    }

    /// The tree has started.
    pub fn watch(&self, root: ActorRef<supervisor::Msg>) {
        self.root.store(Some(Arc::new(root)));
    }

    /// The node is about to stop: it is not ready from now on.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    fn node(&self) -> Check {
        let stopping = self.stopping.load(Ordering::Acquire);
        let detail = if stopping { "stopping" } else { "serving" };
        Check { name: "node".into(), ok: !stopping, detail: detail.into() }
    }

    fn ledger(&self) -> Check {
        let ledgers = &self.organs.ledgers;
        let age = ledgers.last_commit().map(|at| at.elapsed());
        let detail = match age {
            Some(age) => format!("last commit {} ms ago, {} writes wait", age.as_millis(), ledgers.waiting()),
            None => "no commit yet".to_owned(),
        };
        Check { name: "ledger".into(), ok: age.is_some_and(|age| age < self.organs.ttl), detail }
    }

    async fn tables(&self) -> Check {
        let asked = Instant::now();
        let answer = timeout(PART_WITHIN, self.organs.queries.keys(TenantId::DEFAULT)).await;
        let answer = answer.map_err(|_late| "no answer in time".to_owned());
        tell("tables", asked, answer.and_then(|answer| answer.map(drop).map_err(|error| error.to_string())))
    }

    async fn stream(&self) -> Check {
        let asked = Instant::now();
        let key = StreamKey { shard: Shard::default(), log: Log::DomainEvents };
        let answer = timeout(PART_WITHIN, self.organs.stream.tail(key)).await;
        let answer = answer.map_err(|_late| "no answer in time".to_owned());
        tell("stream", asked, answer.and_then(|answer| answer.map(drop).map_err(|error| error.to_string())))
    }

    fn shards(&self) -> Check {
        let directory = &self.organs.directory;
        let owned = directory.fences().len();
        let orphans = directory.unowned();
        let live = directory.live();
        let detail =
            format!("{owned} owned here, {orphans} without an owner, {live} sessions with an actor here");
        Check { name: "shards".into(), ok: orphans == 0, detail }
    }

    async fn relays(&self) -> Check {
        let name = "relays".to_owned();
        let heads = stream::iter(self.organs.directory.fences()).map(|fence| async move {
            let head = self.organs.queries.head(fence.shard, Log::DomainEvents).await?;
            Ok::<_, Error>((fence.shard, head))
        });
        let heads = heads.buffer_unordered(SHARDS_AT_ONCE).try_collect::<Vec<_>>();
        let heads = match timeout(PART_WITHIN, heads).await {
            Ok(Ok(heads)) => heads,
            Ok(Err(error)) => return Check { name, ok: false, detail: error.to_string() },
            Err(_late) => return Check { name, ok: false, detail: "no answer in time".into() },
        };
        let (mut waiting, mut stalled) = (0, Vec::new());
        for (shard, log) in heads {
            waiting += log.unstamped;
            if self.still(shard, log.head) >= STALLED_AFTER && log.unstamped > 0 {
                stalled.push(shard.to_string());
            }
        }
        let ok = stalled.is_empty();
        let stalled = if ok { "none".to_owned() } else { stalled.join(", ") };
        Check {
            name,
            ok,
            detail: format!("{waiting} events wait for their number; stalled shards: {stalled}"),
        }
    }

    /// For how long a log has stood at `head`, as far as anybody asked.
    fn still(&self, shard: Shard, head: Position) -> Duration {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get(&shard) {
            Some(last) if last.head == head => last.at.elapsed(),
            _ => {
                seen.insert(shard, Seen { head, at: Instant::now() });
                Duration::ZERO
            }
        }
    }
}

fn tell(name: &str, asked: Instant, answer: Result<(), String>) -> Check {
    let ok = answer.is_ok();
    let detail =
        answer.map_or_else(|error| error, |()| format!("answered within {} ms", asked.elapsed().as_millis()));
    Check { name: name.into(), ok, detail }
}

#[async_trait]
impl Health for Pulse {
    async fn tree(&self) -> Result<Value> {
        let root =
            self.root.load_full().ok_or_else(|| Error::unavailable("starting", "the tree is starting"))?;
        let nodes = supervisor::tree(&root, TREE_WITHIN).await;
        let nodes =
            nodes.ok_or_else(|| Error::unavailable("tree_late", "the tree did not answer in time"))?;
        serde_json::to_value(nodes).map(|nodes| serde_json::json!({"node": nodes})).map_err(Error::bug)
    }

    async fn readiness(&self) -> Readiness {
        let (tables, stream, relays) = tokio::join!(self.tables(), self.stream(), self.relays());
        Readiness::of(vec![self.node(), self.ledger(), tables, stream, self.shards(), relays])
    }
}
