//! Nodes that are asked to stop, one at a time, while others go on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sqlx::{Connection, Row};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::cluster::Made;
use crate::cluster::audit::connect;
use crate::rig::api::{Api, text};
use crate::rig::figures::{round, say};
use crate::stage::{Stage, play};
use crate::verdict::Verdict;

/// How long a stop may take.
const STOP: Duration = Duration::from_secs(30);

/// How long a session may be away while its node is replaced.
const DOWN: Duration = Duration::from_secs(10);

/// 38: SIGTERM under load.
pub(crate) async fn stopped_under_load() -> Result<Verdict> {
    play("chaos-38", Made::default(), async |stage: &mut Stage| {
        let (stops, mut slowest, mut unsaid) = (stage.size.faults, Duration::ZERO, 0);
        for stop in 0..stops {
            let victim = stage.chance.below(stage.cluster.nodes.len());
            sleep(stage.chance.between(500, 1_500)).await;
            let (took, said) = stopped(stage, victim).await?;
            slowest = slowest.max(took);
            unsaid += u64::from(!said);
            let held = held_by_the_stopped(stage).await?;
            ensure!(held == 0, "{held} leases were not given back by a node that stopped in order");
            let connected = stage.all_online().await?;
            say(&format!(
                "  stop {} of node {victim}: ended after {:.1} s, all connected elsewhere {:.1} s later",
                stop + 1,
                took.as_secs_f64(),
                connected.as_secs_f64()
            ));
            stage.cluster.nodes[victim].launch()?;
            stage.cluster.nodes[victim].ready().await?;
            stage.cluster.shared(stage.cluster.nodes.len()).await?;
        }
        ensure!(unsaid == 0, "{unsaid} of {stops} stops closed the socket before readiness said no");
        Ok(json!({"stops": stops, "exitSecondsMost": round(slowest.as_secs_f64()), "leasesLeft": 0}))
    })
    .await
}

/// 39: two nodes, each replaced in turn.
pub(crate) async fn rolled() -> Result<Verdict> {
    let made = Made { nodes: 2, ..Made::default() };
    play("chaos-39", made, async |stage: &mut Stage| {
        let stop = Arc::new(AtomicBool::new(false));
        let mut watching = JoinSet::new();
        watching.spawn(downtimes(stage.cluster.sandbox.api(), stop.clone()));
        let mut slowest = Duration::ZERO;
        for node in 0..stage.cluster.nodes.len() {
            let (took, _) = stopped(stage, node).await?;
            slowest = slowest.max(took);
            stage.cluster.nodes[node].launch()?;
            stage.cluster.nodes[node].ready().await?;
            stage.cluster.shared(2).await?;
            stage.all_online().await?;
            say(&format!("  node {node} stopped in {:.1} s and replaced", took.as_secs_f64()));
        }
        stop.store(true, Ordering::Relaxed);
        let away = watching.join_next().await.context("nobody watched")???;
        let phones: Vec<_> = stage.accounts.iter().map(|account| account.phone.clone()).collect();
        let most = phones.iter().filter_map(|phone| away.get(phone)).max().copied().unwrap_or_default();
        ensure!(most > Duration::ZERO, "no session was ever away: nothing was rolled");
        ensure!(most <= DOWN, "a session was away for {most:?}");
        Ok(json!({"exitSecondsMost": round(slowest.as_secs_f64()), "downSecondsMost": round(most.as_secs_f64())}))
    })
    .await
}

/// Asks a node to stop and waits for its end: how long that took, and whether it said that it is not ready while it still
/// answered.
async fn stopped(stage: &mut Stage, node: usize) -> Result<(Duration, bool)> {
    let started = Instant::now();
    let mut asking = JoinSet::new();
    asking.spawn(said_not_ready(stage.cluster.api(node)));
    stage.cluster.nodes[node].ask_to_stop()?;
    let status = stage.cluster.nodes[node].end(STOP).await?;
    let took = started.elapsed();
    ensure!(status.success(), "it ended with {status}\n{}", stage.cluster.nodes[node].log());
    Ok((took, asking.join_next().await.context("nobody asked")??))
}

/// Asks until nobody answers: whether the last answers were that it is not ready.
async fn said_not_ready(mut api: Api) -> bool {
    let (until, mut said) = (Instant::now() + STOP, false);
    while Instant::now() < until {
        match api.call("GET", "/readyz", None, "").await {
            Ok((status, _)) => said = status == 503,
            Err(_closed) => return said,
        }
        sleep(Duration::from_millis(20)).await;
    }
    false
}

/// Leases in the name of nodes that do not run any more.
async fn held_by_the_stopped(stage: &Stage) -> Result<usize> {
    let mut running = Vec::new();
    for place in stage.cluster.running() {
        running.push(format!("http://{}", stage.cluster.nodes[place].addr()));
    }
    let mut conn = connect(&stage.cluster.tables).await?;
    let rows = sqlx::query("select address from leases where node is not null").fetch_all(&mut conn).await?;
    conn.close().await?;
    Ok(rows.iter().filter(|row| !running.contains(&row.get::<String, _>(0))).count())
}

/// The longest time that each device was away, as WhatsApp saw it.
async fn downtimes(mut admin: Api, stop: Arc<AtomicBool>) -> Result<HashMap<String, Duration>> {
    let (mut since, mut longest) = (HashMap::<String, Instant>::new(), HashMap::new());
    while !stop.load(Ordering::Relaxed) {
        let all = admin.get("/admin/accounts").await?;
        for account in all["accounts"].as_array().context("no accounts")? {
            let phone = text(account, "phone");
            let online = account["devices"]
                .as_array()
                .is_some_and(|devices| devices.iter().any(|d| d["online"] == true));
            if online {
                since.remove(&phone);
            } else {
                let away = since.entry(phone.clone()).or_insert_with(Instant::now).elapsed();
                let most: &mut Duration = longest.entry(phone).or_default();
                *most = (*most).max(away);
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(longest)
}
