//! A follower that was left behind takes the place of its server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::cluster::node::Program;
use crate::cluster::standby::{Replica, Standby};
use crate::cluster::tables::Key;
use crate::cluster::{Cluster, Made, SHARDS, apart, streams, tables};
use crate::load::{self, Ledger};
use crate::rig::chance::Chance;
use crate::rig::figures::{object, round, say};
use crate::rig::setting;
use crate::rig::world::{Account, link_all};
use crate::stage::{Stage, play};
use crate::verdict::Verdict;

/// 27: a replica of Redis is cut off, promoted while nodes still write to the old one, and the old one dies.
pub(crate) async fn redis_replica_promoted() -> Result<Verdict> {
    let made = Made { program: Program::Worker, ..Made::default() };
    play("chaos-27", made, async |stage: &mut Stage| {
        let old = stage.redis()?;
        let replica = Replica::of(old).await?;
        sleep(Duration::from_secs(1)).await;
        replica.link.refuse();
        stage.accepted_more(40).await?;
        stage.caught_up().await?;
        let behind = streams::held(old).await? - streams::held(replica.addr()?).await?;
        ensure!(behind > 0, "the replica lacks nothing");
        replica.promote().await?;
        for node in 0..stage.cluster.nodes.len() {
            stage.cluster.nodes[node].streams.turn_to(replica.addr()?);
            sleep(stage.chance.between(200, 800)).await;
        }
        stage.replica = Some(replica);
        let redis = stage.cluster.redis.clone();
        apart(move || redis.kill()).await?;
        let caught_up = stage.caught_up().await?;
        say(&format!(
            "  {behind} entries behind when promoted: caught up after {:.2} s",
            caught_up.as_secs_f64()
        ));
        Ok(json!({"entriesBehind": behind, "catchUpSecondsMost": round(caught_up.as_secs_f64())}))
    })
    .await
}

/// What a failover to a standby that lacks the last commits came to.
pub(crate) struct Lagging {
    seed: u64,
    behind: i64,
    /// Logs whose stream holds what the tables never gave, any more.
    ahead: usize,
    detected: usize,
    silent: usize,
    appended: usize,
    alarms_elsewhere: usize,
    within: Duration,
}

/// 30: Postgres fails over to a standby that lacks the last commits. Those are lost, as in any system: what must not happen
/// is that streams and tables go on as if they agreed.
pub(crate) async fn postgres_standby_promoted() -> Result<Lagging> {
    let seed = setting("CHAOS_SEED", 20_261_122);
    say(&format!("chaos-30: seed {seed}"));
    let mut cluster = Cluster::start(&Made::default()).await?;
    cluster.complete().await?;
    let service = cluster.service();
    let linked = link_all(&service, &cluster.sandbox, (0..6).map(|n| format!("account-{n}"))).await?;
    let accounts: Arc<[Account]> = linked.into();
    let (ledger, mut chance) = (Arc::new(Ledger::default()), Chance::new(seed));
    let mut clients = JoinSet::new();
    for n in 0..4 {
        let shared = (ledger.clone(), chance.fork(), Duration::from_millis(150));
        clients.spawn(load::client(format!("client-{n}"), service.api(), accounts.clone(), shared));
    }
    let standby = Standby::of(&cluster).await?;
    sleep(Duration::from_secs(1)).await;
    standby.link.refuse();
    sleep(Duration::from_secs(3)).await;
    let redis = cluster.redis_addr()?;
    streams::caught_up(&cluster, redis).await?;
    let before = tables::committed(&cluster).await?;
    cluster.nodes.iter().for_each(|node| node.tables.refuse());
    let postgres = cluster.postgres.clone();
    apart(move || postgres.kill()).await?;
    standby.promote(&cluster).await?;
    cluster.tables = standby.tables(&cluster);
    let found = tables::read(&cluster).await?;
    let tails = streams::tails(redis, found.heads.keys()).await?;
    let head = |key: &Key| found.heads.get(key).copied().unwrap_or(0);
    let ahead: BTreeMap<Key, i64> =
        tails.iter().filter(|(key, tail)| **tail > head(key)).map(|(key, tail)| (*key, *tail)).collect();
    let behind = before.iter().map(|(key, count)| count - head(key)).sum();
    ensure!(!ahead.is_empty(), "the standby lacks nothing");
    let returned = Instant::now();
    for node in &cluster.nodes {
        node.tables.turn_to(standby.addr());
        node.tables.heal();
    }
    let within = detected(&cluster, &ahead).await?;
    let within = within.map_or(Duration::MAX, |at| at - returned);
    // The tables grow past what the streams hold: only a comparison still tells.
    sleep(Duration::from_secs(6)).await;
    ledger.stop.store(true, Ordering::Relaxed);
    clients.shutdown().await;
    let alarms = alarms(&cluster).await?;
    let after = streams::tails(redis, ahead.keys()).await?;
    Ok(Lagging {
        seed,
        behind,
        ahead: ahead.len(),
        detected: ahead.keys().filter(|key| alarms.contains(key)).count(),
        silent: ahead.keys().filter(|key| !alarms.contains(key)).count(),
        appended: ahead.iter().filter(|(key, tail)| after.get(key) != Some(tail)).count(),
        alarms_elsewhere: alarms.iter().filter(|key| !ahead.contains_key(key)).count(),
        within,
    })
}

/// Waits until every log that is ahead is told by some node, or gives up.
async fn detected(cluster: &Cluster, ahead: &BTreeMap<Key, i64>) -> Result<Option<Instant>> {
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        let told = alarms(cluster).await?;
        if ahead.keys().all(|key| told.contains(key)) {
            return Ok(Some(Instant::now()));
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(None)
}

/// The logs for which some node's metrics raise the alarm.
async fn alarms(cluster: &Cluster) -> Result<BTreeSet<Key>> {
    let mut told = BTreeSet::new();
    for node in &cluster.nodes {
        let text = crate::rig::plain_get(node.addr(), "/metrics").await?;
        for line in
            text.lines().filter(|line| line.starts_with("relay_stream_ahead{") && line.ends_with(" 1"))
        {
            for shard in 0..i32::from(SHARDS) {
                for (log, part) in ["domain-events", "session-commands"].into_iter().enumerate() {
                    let (shard_label, part_label) =
                        (format!("shard=\"{shard}\""), format!("part=\"{part}\""));
                    if line.contains(&shard_label) && line.contains(&part_label) {
                        told.insert((shard, i32::try_from(log)?));
                    }
                }
            }
        }
    }
    Ok(told)
}

impl Lagging {
    /// For machines.
    pub(crate) fn json(&self) -> String {
        object(
            "chaos-30",
            &json!({
                "seed": self.seed, "commitsLacking": self.behind, "logsAhead": self.ahead, "detected": self.detected,
                "silentDivergence": self.silent, "appendedAfterwards": self.appended,
                "alarmsElsewhere": self.alarms_elsewhere, "detectedSeconds": round(self.within.as_secs_f64()),
            }),
        )
    }

    /// The promises that did not hold.
    pub(crate) fn broken(&self) -> Vec<String> {
        let zeros = [
            ("logs that diverge in silence", self.silent),
            ("streams that were appended to although they diverge", self.appended),
            ("alarms about logs that agree", self.alarms_elsewhere),
        ];
        zeros.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name}: {count}")).collect()
    }
}
