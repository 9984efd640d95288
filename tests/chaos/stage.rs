//! One scenario from its start to its line of figures: a cluster, load in both directions, a follower of the events, faults,
//! and what must hold in the end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use sqlx::Connection;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::bursts::{self, Inbound};
use crate::check::{self, Log, Positions};
use crate::cluster::audit::connect;
use crate::cluster::standby::Replica;
use crate::cluster::streams::caught_up;
use crate::cluster::{Cluster, Made, SHARDS, audit, effects};
use crate::load::{self, Ledger};
use crate::rig::chance::Chance;
use crate::rig::feed::Feed;
use crate::rig::figures::say;
use crate::rig::setting;
use crate::rig::world::{Account, Service, link_all, online};
use crate::verdict::Verdict;

/// How long the rest of the load may take to be answered once it is told to stop.
const FINISH: Duration = Duration::from_secs(240);

/// How long sessions may take to be connected again.
pub(crate) const AGAIN: Duration = Duration::from_secs(120);

/// The size of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) seed: u64,
    pub(crate) sessions: usize,
    pub(crate) strangers: usize,
    pub(crate) clients: usize,
    pub(crate) sends_per_second: u64,
    pub(crate) inbound_per_second: u64,
    /// How often a fault that can be repeated is repeated.
    pub(crate) faults: u64,
}

impl Size {
    pub(crate) fn read() -> Self {
        let count = |name, default| usize::try_from(setting(name, default)).unwrap_or(1);
        Self {
            seed: setting("CHAOS_SEED", 20_261_122),
            sessions: count("CHAOS_CLUSTER_SESSIONS", 12).max(2),
            strangers: count("CHAOS_STRANGERS", 2).max(1),
            clients: count("CHAOS_CLIENTS", 4).max(1),
            sends_per_second: setting("CHAOS_CLUSTER_SENDS_PER_SECOND", 20).max(1),
            inbound_per_second: setting("CHAOS_CLUSTER_INBOUND_PER_SECOND", 10).max(1),
            faults: setting("CHAOS_FAULTS", 2).max(1),
        }
    }
}

/// What a scenario's faults play on.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) service: Service,
    pub(crate) accounts: Arc<[Account]>,
    pub(crate) chance: Chance,
    pub(crate) size: Size,
    pub(crate) ledger: Arc<Ledger>,
    /// Second logins that the scenario itself makes unavoidable: the device's owner was paused or cut from WhatsApp with its
    /// link open.
    pub(crate) forgiven: u64,
    /// The Redis that took over, once one has.
    pub(crate) replica: Option<Replica>,
    replaced_before: HashMap<String, u64>,
}

impl Stage {
    pub(crate) fn redis(&self) -> Result<SocketAddr> {
        self.replica.as_ref().map_or_else(|| self.cluster.redis_addr(), Replica::addr)
    }

    /// Waits until so many more sends have been accepted: there is life again, or still.
    pub(crate) async fn accepted_more(&self, count: usize) -> Result<Duration> {
        let (started, before) = (Instant::now(), self.ledger.accepted().len());
        while self.ledger.accepted().len() < before + count {
            if started.elapsed() > AGAIN {
                bail!("no {count} sends were accepted within {AGAIN:?}{}", self.cluster.last_words());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(started.elapsed())
    }

    /// Waits until every session is connected, as WhatsApp sees it; how long that took.
    pub(crate) async fn all_online(&self) -> Result<Duration> {
        let count = self.accounts.len() as u64;
        match online(&self.cluster.sandbox, count, AGAIN).await {
            Ok(waited) => Ok(waited),
            Err(error) => Err(error.context(self.whereabouts().await).context(self.cluster.last_words())),
        }
    }

    /// Every session: its state, its owner, and whether WhatsApp sees it. For an error.
    pub(crate) async fn whereabouts(&self) -> String {
        let sql = "select id::text, state || ' ' || reason || ', shard ' || shard || ' of ' || coalesce(node, 'nobody') \
                   || ' ' || address from sessions left join leases using (shard)";
        let asked = async {
            let mut conn = connect(&self.cluster.tables).await?;
            let rows: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut conn).await?;
            conn.close().await?;
            let (mut all, mut admin) = (String::new(), self.cluster.sandbox.api());
            for account in self.accounts.iter() {
                let view = admin.get(&format!("/admin/accounts/{}", account.phone)).await?;
                let row = rows.iter().find(|(id, _)| *id == account.session);
                let row = row.map_or("not in the tables", |(_, row)| row);
                all += &format!("\n  {}: {row}; {}", account.session, view["devices"]);
            }
            Ok::<_, anyhow::Error>(all)
        };
        asked.await.unwrap_or_else(|error| format!("unknown: {error}"))
    }

    /// Waits until what is committed now is in the streams; how long that took.
    pub(crate) async fn caught_up(&self) -> Result<Duration> {
        caught_up(&self.cluster, self.redis()?).await
    }

    /// How often a device was taken over by a second link while the first was there, since the load began.
    pub(crate) async fn overlaps(&self) -> Result<u64> {
        let now = replaced(&self.cluster, &self.accounts).await?;
        Ok(now
            .iter()
            .map(|(phone, count)| count - self.replaced_before.get(phone).copied().unwrap_or(0))
            .sum())
    }
}

/// Plays a scenario: `faults` does its worst and returns figures of its own.
pub(crate) async fn play(
    name: &'static str,
    made: Made,
    faults: impl AsyncFnOnce(&mut Stage) -> Result<Value>,
) -> Result<Verdict> {
    play_sized(name, made, Size::read(), faults).await
}

/// The same in a size of its own.
pub(crate) async fn play_sized(
    name: &'static str,
    made: Made,
    size: Size,
    faults: impl AsyncFnOnce(&mut Stage) -> Result<Value>,
) -> Result<Verdict> {
    let started = Instant::now();
    say(&format!("{name}: seed {}", size.seed));
    let mut chance = Chance::new(size.seed);
    let mut cluster = Cluster::start(&made).await?;
    audit::begin(&cluster).await?;
    effects::begin(&cluster).await?;
    cluster.complete().await?;
    let service = cluster.service();
    let names = (0..size.sessions).map(|n| format!("account-{n}"));
    let linked = link_all(&service, &cluster.sandbox, names).await;
    let accounts: Arc<[Account]> = linked.with_context(|| cluster.last_words())?.into();
    let strangers = bursts::strangers(&service, &cluster.sandbox, size.strangers).await?;
    say(&format!(
        "  {} sessions on {} nodes after {:.1} s",
        size.sessions,
        made.nodes,
        started.elapsed().as_secs_f64()
    ));
    let replaced_before = replaced(&cluster, &accounts).await?;
    let ledger = Arc::new(Ledger::default());
    let mut stage = Stage {
        cluster,
        service,
        accounts,
        chance: chance.fork(),
        size,
        ledger,
        forgiven: 0,
        replica: None,
        replaced_before,
    };
    let load = Load::start(&stage, strangers, &mut chance).await?;
    stage.accepted_more(10).await?;
    let own = faults(&mut stage).await.with_context(|| stage.cluster.last_words())?;
    let caught_up = stage.caught_up().await?;
    let connected = stage.all_online().await?;
    let settled = load.settle(&stage).await.with_context(|| stage.cluster.last_words())?;
    Verdict::reach(name, &stage, settled, (own, caught_up, connected, started.elapsed())).await
}

async fn replaced(cluster: &Cluster, accounts: &[Account]) -> Result<HashMap<String, u64>> {
    let mut admin = cluster.sandbox.api();
    let mut all = HashMap::new();
    for account in accounts {
        let view = admin.get(&format!("/admin/accounts/{}", account.phone)).await?;
        let devices = view["devices"].as_array().context("an account without devices")?;
        all.insert(
            account.phone.clone(),
            devices.iter().filter_map(|device| device["replaced"].as_u64()).sum(),
        );
    }
    Ok(all)
}

/// Everything that goes on beside the faults.
struct Load {
    clients: JoinSet<Result<()>>,
    strangers: JoinSet<Result<Inbound>>,
    follower: JoinSet<Result<(Log, u64)>>,
    until: watch::Sender<Option<Positions>>,
}

/// What the load came to.
pub(crate) struct Settled {
    pub(crate) sent: Inbound,
    pub(crate) log: Log,
    pub(crate) watched: Log,
    pub(crate) resumes: u64,
}

impl Load {
    async fn start(stage: &Stage, strangers: Vec<String>, chance: &mut Chance) -> Result<Self> {
        let (service, size) = (&stage.service, &stage.size);
        let feed = Feed::open(service.addr(), service.key(), Some("0"), "").await?;
        let (until, told) = watch::channel(None);
        let mut follower = JoinSet::new();
        follower.spawn(check::watch(feed, SHARDS, told));
        let pace = Duration::from_secs_f64(size.clients as f64 / size.sends_per_second as f64);
        let mut clients = JoinSet::new();
        for n in 0..size.clients {
            let shared = (stage.ledger.clone(), chance.fork(), pace);
            let (name, accounts) = (format!("client-{n}"), stage.accounts.clone());
            clients.spawn(load::client(name, service.api(), accounts, shared));
        }
        let each = (size.inbound_per_second / strangers.len() as u64).max(1);
        let mut talking = JoinSet::new();
        for stranger in strangers {
            talking.spawn(talk(stage, stranger, each, chance.fork()));
        }
        Ok(Self { clients, strangers: talking, follower, until })
    }

    async fn settle(mut self, stage: &Stage) -> Result<Settled> {
        stage.ledger.stop.store(true, Ordering::Relaxed);
        let ended = async {
            while let Some(done) = self.clients.join_next().await {
                done??;
            }
            let mut sent = Inbound::new();
            while let Some(done) = self.strangers.join_next().await {
                done??.into_iter().for_each(|(session, ids)| sent.entry(session).or_default().extend(ids));
            }
            anyhow::Ok(sent)
        };
        let sent = timeout(FINISH, ended).await.context("the load did not finish")??;
        let accepted = stage.ledger.accepted();
        check::settle(&stage.service, &stage.cluster.sandbox, &stage.accounts, &accepted).await?;
        let log = check::log(&stage.service, SHARDS).await?;
        self.until.send_replace(Some(log.positions.clone()));
        let followed = timeout(Duration::from_secs(60), self.follower.join_next()).await;
        let (watched, resumes) =
            followed.context("the WebSocket did not catch up")?.context("no follower")???;
        Ok(Settled { sent, log, watched, resumes })
    }
}

/// A stranger who writes to random accounts, a second's worth at a time, until the load stops.
fn talk(
    stage: &Stage,
    stranger: String,
    per_second: u64,
    mut chance: Chance,
) -> impl Future<Output = Result<Inbound>> + use<> {
    let (sandbox, accounts, ledger) =
        (stage.cluster.sandbox.addr(), stage.accounts.clone(), stage.ledger.clone());
    async move {
        let mut sent = Inbound::new();
        while !ledger.stop.load(Ordering::Relaxed) {
            let to = accounts[chance.below(accounts.len())].clone();
            let api = crate::rig::api::Api::new(sandbox, None);
            let (session, ids) = bursts::burst(api, stranger.clone(), to, (per_second, per_second)).await?;
            sent.entry(session).or_default().extend(ids);
        }
        Ok(sent)
    }
}
