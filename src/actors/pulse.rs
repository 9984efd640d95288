//! How this node is: looks at the actors, and tells.
//!
//! Promises: readiness is about progress. The ledger must have committed lately (a lease is renewed every few
//! seconds, so an idle node commits too), and events must not wait while their log stands still.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ractor::ActorRef;
use serde_json::Value;
use tokio::time::Instant;

use super::archive::Queries;
use super::directory::Directory;
use super::health::{Check, Health, Readiness};
use super::leases;
use super::ledger::Ledgers;
use super::supervisor;
use crate::domain::error::{Error, Result};
use crate::domain::event::Log;
use crate::domain::ids::Position;

/// How long the live tree may take to answer.
const TREE_WITHIN: Duration = Duration::from_secs(3);

/// How long a log may stand still while rows wait.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// The head of the event log when it last moved.
struct Seen {
    head: Position,
    at: Instant,
}

/// The health of this node.
pub struct Pulse {
    root: arc_swap::ArcSwapOption<ActorRef<supervisor::Msg>>,
    ledgers: Ledgers,
    queries: Queries,
    directory: Directory,
    seen: Mutex<Option<Seen>>,
}

impl Pulse {
    /// Watches a tree that is yet to start.
    #[must_use]
    pub fn new(ledgers: Ledgers, queries: Queries, directory: Directory) -> Arc<Self> {
        let (root, seen) = (arc_swap::ArcSwapOption::empty(), Mutex::default());
        Arc::new(Self { root, ledgers, queries, directory, seen })
    }

    /// The tree has started.
    pub fn watch(&self, root: ActorRef<supervisor::Msg>) {
        self.root.store(Some(Arc::new(root)));
    }

    fn ledger(&self) -> Check {
        let age = self.ledgers.last_commit().map(|at| at.elapsed());
        let detail = match age {
            Some(age) => {
                format!("last commit {} ms ago, {} writes wait", age.as_millis(), self.ledgers.waiting())
            }
            None => "no commit yet".to_owned(),
        };
        Check { name: "ledger".into(), ok: age.is_some_and(|age| age < leases::TTL), detail }
    }

    fn shards(&self) -> Check {
        let owned = self.directory.fences().len();
        let detail = format!("{owned} owned, {} sessions with an actor", self.directory.live());
        Check { name: "shards".into(), ok: owned > 0, detail }
    }

    async fn relay(&self) -> Check {
        let name = "relay".to_owned();
        let Some(fence) = self.directory.fences().first().copied() else {
            return Check { name, ok: false, detail: "no shard is owned".into() };
        };
        match self.queries.head(fence.shard, Log::DomainEvents).await {
            Err(error) => Check { name, ok: false, detail: error.to_string() },
            Ok(log) => {
                let still = self.still(log.head);
                let ok = log.unstamped == 0 || still < STALLED_AFTER;
                let detail = format!("position {}, {} events wait", log.head, log.unstamped);
                Check { name, ok, detail }
            }
        }
    }

    /// For how long the log has stood at `head`, as far as anybody asked.
    fn still(&self, head: Position) -> Duration {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &*seen {
            Some(last) if last.head == head => last.at.elapsed(),
            _ => {
                *seen = Some(Seen { head, at: Instant::now() });
                Duration::ZERO
            }
        }
    }
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
        Readiness::of(vec![self.ledger(), self.shards(), self.relay().await])
    }
}
