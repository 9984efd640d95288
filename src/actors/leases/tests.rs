//! Nodes that share one store, in real time with short leases.

use std::collections::BTreeMap;
use std::sync::Mutex;

use ractor::ActorCell;

use super::*;
use crate::actors::archive::{self, Archive};
use crate::actors::consumer::Consumers;
use crate::actors::ledger::{self, Ledger};
use crate::actors::relay::Relays;
use crate::actors::supervisor::{Policy, Restart, StopOrder, Supervisor, child, leaf};
use crate::infra::store::Store;
use crate::infra::store::sqlite::SqliteStore;

const SHARDS: u16 = 4;
const SOON: Duration = Duration::from_secs(60);

fn pace() -> Pace {
    let millis = Duration::from_millis;
    Pace {
        ttl: millis(1500),
        renew: millis(300),
        trust: millis(900),
        look: millis(100),
        tick: millis(30),
        drain: millis(1000),
    }
}

/// Who runs which shard, and how often two did at once.
#[derive(Default)]
struct Register {
    runs: Mutex<BTreeMap<Shard, String>>,
    overlaps: Mutex<Vec<Shard>>,
}

impl Register {
    fn of(&self, node: &str) -> usize {
        self.runs.lock().unwrap().values().filter(|owner| *owner == node).count()
    }

    async fn until(&self, what: &str, fine: impl Fn(&Self) -> bool) {
        let late = Instant::now() + SOON;
        while !fine(self) {
            assert!(Instant::now() < late, "{what}: {:?}", self.runs.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// What runs in a shard: stands in the register for as long as it lives.
struct Tenant;

struct Place {
    register: Arc<Register>,
    shard: Shard,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.register.runs.lock().unwrap().remove(&self.shard);
    }
}

impl Actor for Tenant {
    type Msg = ();
    type State = Place;
    type Arguments = (Arc<Register>, Shard, String);

    async fn pre_start(
        &self,
        _: ActorRef<()>,
        (register, shard, node): Self::Arguments,
    ) -> Result<Place, ActorProcessingErr> {
        if register.runs.lock().unwrap().insert(shard, node).is_some() {
            register.overlaps.lock().unwrap().push(shard);
        }
        Ok(Place { register, shard })
    }
}

struct Node {
    leases: ActorRef<Msg>,
    shards: ActorRef<supervisor::Msg>,
    ledger: ActorCell,
}

/// A node over `store` that runs a [`Tenant`] per shard.
async fn node(name: &str, store: &Arc<SqliteStore>, register: &Arc<Register>) -> Node {
    let (ledgers, queries) = (Ledgers::new(1000), Queries::new(100));
    let store = Arc::clone(store) as Arc<dyn Store>;
    let args = ledger::Arguments {
        store: store.clone(),
        relays: Relays::new(SHARDS),
        consumers: Consumers::default(),
        ledgers: ledgers.clone(),
    };
    let (ledger, _) = Actor::spawn(None, Ledger, args).await.unwrap();
    ledgers.attach(ledger.clone());
    queries.attach(Actor::spawn(None, Archive, archive::Arguments { store }).await.unwrap().0);
    let policy = Policy { stop: StopOrder::Together, ..Policy::park() };
    let (shards, _) = Actor::spawn(None, Supervisor, (policy, Vec::new())).await.unwrap();
    let above = Above::default();
    above.store(Some(Arc::new(shards.clone())));
    let (register, owner) = (register.clone(), name.to_owned());
    let make = move |fence: Fence, slot: Above| {
        let (register, owner) = (register.clone(), owner.clone());
        child(key_of(fence.shard), "shard", Restart::Never, move |above| {
            let (register, owner, slot) = (register.clone(), owner.clone(), slot.clone());
            async move {
                let tenant = leaf("tenant", "tenant", Restart::Permanent, move || {
                    (Tenant, (register.clone(), fence.shard, owner.clone()))
                });
                let spawned =
                    Actor::spawn_linked(None, Supervisor, (Policy::escalate(), vec![tenant]), above).await?;
                slot.store(Some(Arc::new(spawned.0.clone())));
                Ok(supervisor::Started::branch(spawned.0))
            }
        })
    };
    let args = Arguments {
        ledgers,
        queries,
        node: watch::tests::node(name, 0),
        shards: SHARDS,
        make: Box::new(make),
        above,
        directory: Directory::new(SHARDS),
        pace: pace(),
    };
    let (leases, _) = Actor::spawn(None, Leases, args).await.unwrap();
    Node { leases, shards, ledger: ledger.get_cell() }
}

async fn store() -> (Arc<SqliteStore>, Arc<Register>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("recado.db")).await.unwrap();
    (Arc::new(store), Arc::default(), folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_share_and_what_a_dead_one_held_moves_on() {
    let (store, register, _folder) = store().await;
    let a = node("a", &store, &register).await;
    register.until("a has all", |all| all.of("a") == 4).await;
    let b = node("b", &store, &register).await;
    register.until("both have half", |all| all.of("a") == 2 && all.of("b") == 2).await;
    // As a process that is killed: nothing is given back.
    a.leases.kill();
    a.shards.kill();
    register.until("b has all", |all| all.of("b") == 4).await;
    assert!(register.overlaps.lock().unwrap().is_empty(), "never two owners at once");
    b.leases.stop_and_wait(None, None).await.unwrap();
    assert_eq!(register.of("b"), 0, "all ended before the node did");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_cut_from_the_store_has_ended_before_another_begins() {
    let (store, register, _folder) = store().await;
    let a = node("a", &store, &register).await;
    register.until("a has all", |all| all.of("a") == 4).await;
    let b = node("b", &store, &register).await;
    register.until("both have half", |all| all.of("b") == 2 && all.of("a") == 2).await;
    a.ledger.kill();
    register.until("b has all", |all| all.of("b") == 4).await;
    assert!(register.overlaps.lock().unwrap().is_empty(), "never two owners at once");
    for node in [&a, &b] {
        node.leases.stop_and_wait(None, None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_hands_over_before_any_lease_runs_out() {
    let (store, register, _folder) = store().await;
    let a = node("a", &store, &register).await;
    register.until("a has all", |all| all.of("a") == 4).await;
    let b = node("b", &store, &register).await;
    register.until("both have half", |all| all.of("b") == 2 && all.of("a") == 2).await;
    a.leases.stop_and_wait(None, None).await.unwrap();
    let cluster = store.cluster().await.unwrap();
    assert!(cluster.leases.iter().all(|lease| lease.node.as_deref() != Some("a")), "{cluster:?}");
    assert!(cluster.nodes.iter().all(|node| node.node != "a"), "{cluster:?}");
    register.until("b has all", |all| all.of("b") == 4).await;
    assert!(register.overlaps.lock().unwrap().is_empty(), "never two owners at once");
    b.leases.stop_and_wait(None, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_was_kept_before_it_was_given_back_begins_nothing() {
    let (store, register, _folder) = store().await;
    let a = node("a", &store, &register).await;
    register.until("a has all", |all| all.of("a") == 4).await;
    let leases = async || store.cluster().await.unwrap().leases;
    let kept = leases().await;
    let b = node("b", &store, &register).await;
    register.until("both have half", |all| all.of("b") == 2 && all.of("a") == 2).await;
    // The answers that come last: those of the keeps that were under way.
    for lease in kept {
        let asked = Asked { shard: lease.shard, held: Some(lease.epoch), at: Instant::now() };
        a.leases.cast(note(Inner::Asked(asked, Ok(Ok(Some(lease.epoch)))))).unwrap();
    }
    // Two looks later, whatever it would have begun runs.
    let of_a = async || {
        leases()
            .await
            .into_iter()
            .filter(|lease| lease.node.as_deref() == Some("a"))
            .map(|lease| lease.expires_at)
            .max()
    };
    for _ in 0..2 {
        let (before, late) = (of_a().await, Instant::now() + SOON);
        while of_a().await <= before {
            assert!(Instant::now() < late, "nothing is renewed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!((register.of("a"), register.of("b")), (2, 2));
    assert!(register.overlaps.lock().unwrap().is_empty(), "never two owners at once");
    for node in [&a, &b] {
        node.leases.stop_and_wait(None, None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_ends_by_itself_is_won_anew_under_a_new_epoch() {
    let (store, register, _folder) = store().await;
    let a = node("a", &store, &register).await;
    register.until("a has all", |all| all.of("a") == 4).await;
    let epoch = async || {
        let cluster = store.cluster().await.unwrap();
        cluster.leases.iter().find(|lease| lease.shard == Shard(1)).map(|lease| lease.epoch)
    };
    let before = epoch().await;
    supervisor::stop(&a.shards, key_of(Shard(1)), SOON).await;
    let late = Instant::now() + SOON;
    while epoch().await == before || register.of("a") < 4 {
        assert!(Instant::now() < late, "{:?}", register.runs.lock().unwrap());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    a.leases.stop_and_wait(None, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_while_it_asks_leaves_no_lease_behind() {
    let (store, register, _folder) = store().await;
    for moment in 0..20 {
        let a = node("a", &store, &register).await;
        tokio::time::sleep(Duration::from_micros(300 * moment)).await;
        a.leases.stop_and_wait(None, None).await.unwrap();
        let cluster = store.cluster().await.unwrap();
        assert!(cluster.leases.iter().all(|lease| lease.node.is_none()), "{moment}: {cluster:?}");
    }
}
