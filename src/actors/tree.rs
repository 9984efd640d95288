//! THE SUPERVISION TREE. Started top to bottom, stopped bottom to top.
//!
//! ```text
//! Node                              escalate: a failed tree ends the process
//! ├── ledger n                      the writers: group commit; a shard's writes go to one of them
//! ├── archive                       reads
//! ├── identity                      passwords and access tokens; the keys for these
//! ├── limiter                       whether a request may go on: counted here, or in Redis for all nodes
//! ├── hub k                         WebSocket clients of a shard's events
//! ├── shards                        subtrees of the shards owned here
//! │   └── shard k                   a lost lease or an exhausted child ends the whole subtree
//! │       ├── relay                 outbox → session-commands, domain-events
//! │       ├── sessions              restart with backoff; budget spent → park this session, siblings untouched
//! │       │   └── session s         one WhatsApp account
//! │       │       └── link          the socket; its death is the session's reconnect
//! │       ├── commands              session-commands → wakes or starts sessions
//! │       ├── …                     one consumer per further group
//! │       └── roster                starts what should run
//! ├── leases                        takes and renews leases; starts and ends shards
//! ├── hints                         wake-ups from node to node
//! ├── intake                        commands that programs outside append to session-commands
//! ├── scheduler                     upkeep by the clock
//! ├── backup                        backups by the clock, when there are to be any
//! └── http                          started last, stopped first
//! ```

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::task::JoinHandle;

use super::archive::{self, Archive, Queries};
use super::backup::{self, Backup};
use super::consumer::{self, Consumer, Consumers};
use super::directory::Directory;
use super::handler::Handler;
use super::hints;
use super::hub::{self, Hub, HubActor};
use super::hubs::Hubs;
use super::identity::{self, Identity};
use super::intake;
use super::leases::{self, Above, Leases, Pace};
use super::ledger::{self, Ledger, Ledgers};
use super::limiter;
use super::relay::{self, Relay, Relays};
use super::roster::{self, Roster};
use super::scheduler::{self, Scheduler};
use super::session::Setup;
use super::supervisor::{self, Child, Policy, Restart, StopOrder, branch_known, child, leaf, leaf_known};
use super::wake_sessions::{self, WakeSessions};
use crate::domain::cluster::NodeView;
use crate::domain::error::{Error, Result};
use crate::domain::event::Log;
use crate::domain::ids::Fence;
use crate::infra::store::Store;
use crate::infra::stream::Stream;
use crate::infra::stream::hints::Hints as HintsPort;

/// One consumer group beside the built-in `commands`.
#[derive(Clone)]
pub struct Group {
    /// Its name, also the key of its cursor.
    pub name: String,
    /// What it reads.
    pub log: Log,
    /// What it does.
    pub handler: Arc<dyn Handler>,
}

/// Everything the tree is made of.
#[derive(Clone)]
pub struct Parts {
    /// The tables.
    pub store: Arc<dyn Store>,
    /// The streams.
    pub stream: Arc<dyn Stream>,
    /// Wake-ups between nodes.
    pub hints: Arc<dyn HintsPort>,
    /// Commands of programs outside, where there is a place for them.
    pub intake: Option<intake::Arguments>,
    /// The way to write.
    pub ledgers: Ledgers,
    /// The way to read.
    pub queries: Queries,
    /// Passwords and tokens.
    pub identity: identity::Arguments,
    /// What requests are held against.
    pub limiter: limiter::Arguments,
    /// The relays' wake-ups.
    pub relays: Relays,
    /// The consumers' wake-ups.
    pub consumers: Consumers,
    /// The clients' events: a hub per shard where clients are served.
    pub hubs: Hubs,
    /// Where sessions are.
    pub directory: Directory,
    /// What a session needs.
    pub sessions: Setup,
    /// Further consumer groups.
    pub groups: Vec<Group>,
    /// How a consumer paces itself.
    pub consumer: consumer::Settings,
    /// How many shards there are.
    pub shards: u16,
    /// Who this process is, where it answers, and what it does.
    pub node: NodeView,
    /// The clockwork of leases.
    pub pace: Pace,
    /// The most sessions with an actor here.
    pub max_sessions: usize,
    /// How long an idempotency key is remembered.
    pub keys_for: Duration,
    /// Backups by the clock, if there are to be any.
    pub backup: Option<backup::Arguments>,
}

/// A running tree.
pub struct Tree {
    root: ActorRef<supervisor::Msg>,
    ended: JoinHandle<()>,
}

/// Starts the tree, `last` after all else.
///
/// # Errors
/// `Unavailable` when a child does not start; nothing is left running then.
pub async fn start(parts: Parts, last: Vec<Child>) -> Result<Tree> {
    let shards = Above::default();
    let mut children: Vec<_> = (0..parts.ledgers.count()).map(|place| ledger(&parts, place)).collect();
    children.push(archive(&parts));
    children.push(identity(&parts));
    children.push(limiter::child(parts.limiter.clone()));
    children.extend(parts.hubs.iter().map(|hub| hub_actor(&parts, hub)));
    children.push(shard_supervisor(shards.clone()));
    children.push(leases(&parts, shards));
    children.push(hints(&parts));
    children.extend(parts.intake.clone().map(intake::child));
    children.push(scheduler(&parts));
    children.extend(parts.backup.clone().map(backup));
    children.extend(last);
    let started = supervisor::spawn_root(Policy::escalate(), children).await;
    let (root, ended) = started.map_err(|error| Error::unavailable("tree_not_started", error.to_string()))?;
    Ok(Tree { root, ended })
}

impl Tree {
    /// The root, to look at the live tree.
    #[must_use]
    pub fn root(&self) -> ActorRef<supervisor::Msg> {
        self.root.clone()
    }

    /// Returns when the tree has ended by itself: it has failed.
    pub async fn failed(&mut self) {
        let _how_it_ended = (&mut self.ended).await;
    }

    /// Stops it in order within one deadline; true when everything stopped by itself.
    pub async fn stop(self, within: Duration) -> bool {
        supervisor::shutdown(&self.root, within).await
    }
}

fn ledger(parts: &Parts, place: usize) -> Child {
    let (store, relays, consumers) = (parts.store.clone(), parts.relays.clone(), parts.consumers.clone());
    let (ledgers, known) = (parts.ledgers.clone(), parts.ledgers.clone());
    let make = move || {
        let (store, relays, consumers) = (store.clone(), relays.clone(), consumers.clone());
        (Ledger, ledger::Arguments { store, relays, consumers, ledgers: ledgers.clone() })
    };
    let key = format!("ledger {place}");
    leaf_known(key, "ledger", Restart::Permanent, make, move |actor| known.attach_at(place, actor.clone()))
}

fn archive(parts: &Parts) -> Child {
    let (store, queries) = (parts.store.clone(), parts.queries.clone());
    let make = move || (Archive, archive::Arguments { store: store.clone() });
    leaf_known("archive", "archive", Restart::Permanent, make, move |actor| queries.attach(actor.clone()))
}

fn identity(parts: &Parts) -> Child {
    let arguments = parts.identity.clone();
    leaf("identity", "identity", Restart::Permanent, move || (Identity, arguments.clone()))
}

fn hub_actor(parts: &Parts, hub: &Hub) -> Child {
    let (parts, hub) = (parts.clone(), hub.clone());
    leaf(format!("hub {}", hub.shard()), "hub", Restart::Permanent, move || {
        let (store, stream) = (parts.store.clone(), parts.stream.clone());
        (HubActor, hub::Arguments { hub: hub.clone(), store, stream })
    })
}

/// Shards end each by itself; the leases decide whether they run again.
fn shard_supervisor(known: Above) -> Child {
    let policy = Policy { stop: StopOrder::Together, stop_within: Duration::from_secs(30), ..Policy::park() };
    branch_known(
        "shards",
        "shards",
        Restart::Permanent,
        move || (policy.clone(), Vec::new()),
        move |actor| {
            known.store(Some(Arc::new(actor.clone())));
        },
    )
}

fn leases(parts: &Parts, above: Above) -> Child {
    let parts = parts.clone();
    leaf("leases", "leases", Restart::Permanent, move || {
        let tree = parts.clone();
        let arguments = leases::Arguments {
            ledgers: parts.ledgers.clone(),
            directory: parts.directory.clone(),
            queries: parts.queries.clone(),
            node: parts.node.clone(),
            pace: parts.pace,
            shards: parts.shards,
            make: Box::new(move |fence, slot| shard(fence, slot, &tree)),
            above: above.clone(),
        };
        (Leases, arguments)
    })
}

fn hints(parts: &Parts) -> Child {
    let (hints, relays, shards) = (parts.hints.clone(), parts.relays.clone(), parts.shards);
    hints::child(hints::Arguments { hints, relays, shards })
}

fn scheduler(parts: &Parts) -> Child {
    let parts = parts.clone();
    leaf("scheduler", "scheduler", Restart::Permanent, move || {
        let (ledgers, directory, keys_for) = (parts.ledgers.clone(), parts.directory.clone(), parts.keys_for);
        let queries = parts.queries.clone();
        (Scheduler, scheduler::Arguments { ledgers, queries, directory, keys_for })
    })
}

fn backup(arguments: backup::Arguments) -> Child {
    leaf("backup", "backup", Restart::Permanent, move || (Backup, arguments.clone()))
}

/// The subtree of one shard. Its streams are prepared first, so that relay and consumers agree where to begin.
fn shard(fence: Fence, slot: Above, parts: &Parts) -> Child {
    let parts = parts.clone();
    child(leases::key_of(fence.shard), "shard", Restart::Never, move |above| {
        let (parts, slot) = (parts.clone(), slot.clone());
        async move {
            let groups: Vec<(Log, &str)> = std::iter::once((Log::SessionCommands, wake_sessions::GROUP))
                .chain(parts.groups.iter().map(|group| (group.log, group.name.as_str())))
                .collect();
            let prepared = relay::prepare(&*parts.store, &*parts.stream, fence.shard, &groups).await;
            prepared.map_err(|error| ractor::SpawnErr::StartupFailed(error.to_string().into()))?;
            let mut children = vec![relay(fence, &parts), sessions(fence, &parts)];
            children.push(commands(fence, &parts));
            children.extend(parts.groups.iter().map(|group| group_consumer(fence, group.clone(), &parts)));
            children.push(roster(fence, &parts));
            let policy = Policy { failures: 3, ..Policy::escalate() };
            let spawned =
                ractor::Actor::spawn_linked(None, supervisor::Supervisor, (policy, children), above).await?;
            slot.store(Some(Arc::new(spawned.0.clone())));
            Ok(supervisor::Started::branch(spawned.0))
        }
    })
}

fn relay(fence: Fence, parts: &Parts) -> Child {
    let parts = parts.clone();
    leaf("relay", "relay", Restart::Permanent, move || {
        let arguments = relay::Arguments {
            fence,
            relays: parts.relays.clone(),
            ledgers: parts.ledgers.clone(),
            store: parts.store.clone(),
            stream: parts.stream.clone(),
            settings: relay::Settings::default(),
        };
        (Relay, arguments)
    })
}

fn sessions(fence: Fence, parts: &Parts) -> Child {
    let policy = Policy { children: parts.max_sessions, starts: 64, ..Policy::park() };
    let directory = parts.directory.clone();
    branch_known(
        "sessions",
        "sessions",
        Restart::Permanent,
        move || (policy.clone(), Vec::new()),
        move |actor| {
            directory.enter_shard(fence, actor.clone());
        },
    )
}

fn commands(fence: Fence, parts: &Parts) -> Child {
    let handler = Arc::new(WakeSessions { setup: parts.sessions.clone() });
    let group = Group { name: wake_sessions::GROUP.into(), log: Log::SessionCommands, handler };
    group_consumer(fence, group, parts)
}

fn group_consumer(fence: Fence, group: Group, parts: &Parts) -> Child {
    let parts = parts.clone();
    leaf(group.name.clone(), "consumer", Restart::Permanent, move || {
        let arguments = consumer::Arguments {
            fence,
            group: group.name.clone(),
            log: group.log,
            handler: group.handler.clone(),
            ledgers: parts.ledgers.clone(),
            store: parts.store.clone(),
            stream: parts.stream.clone(),
            consumers: parts.consumers.clone(),
            settings: group.handler.settings(parts.consumer.clone()),
        };
        (Consumer, arguments)
    })
}

fn roster(fence: Fence, parts: &Parts) -> Child {
    let parts = parts.clone();
    leaf("roster", "roster", Restart::Permanent, move || {
        let (setup, store) = (parts.sessions.clone(), parts.store.clone());
        (Roster, roster::Arguments { fence, setup, store })
    })
}
