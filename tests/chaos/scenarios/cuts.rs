//! Ways to the servers that are slow for all nodes, and cut for one while the others have theirs.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::cluster::{LEASE, Made};
use crate::net::front::State;
use crate::net::proxy::{Flow, Proxy};
use crate::rig::figures::{round, say};
use crate::stage::{Stage, play};
use crate::verdict::Verdict;

/// How long a node may take to say that it is not ready.
const NOTICED: Duration = Duration::from_secs(30);

/// 40: cut from Redis only, then from Postgres only; connections end, or nothing comes through them any more.
pub(crate) async fn one_node_cut_off() -> Result<Verdict> {
    play("chaos-40", Made::default(), async |stage: &mut Stage| {
        let mut figures = json!({});
        figures["slowAcceptSeconds"] = json!(round(everything_slow(stage).await?.as_secs_f64()));
        for (what, silent) in [("redis", false), ("postgres", false), ("redis", true), ("postgres", true)] {
            let victim = stage.chance.below(stage.cluster.nodes.len());
            all_ready(stage).await?;
            let started = Instant::now();
            let way = way(stage, victim, what);
            if silent { way.flow(Flow::Hold, Flow::Hold) } else { way.refuse() }
            let noticed = not_ready(stage, victim).await?;
            sleep(long(what).saturating_sub(started.elapsed()) + stage.chance.between(0, 500)).await;
            stage.accepted_more(5).await?;
            if what == "postgres" {
                // Its shards are others' by now.
                stage.cluster.shared(stage.cluster.nodes.len() - 1).await?;
                stage.all_online().await?;
            }
            way_healed(stage, victim, what);
            stage.cluster.nodes[victim].ready().await?;
            stage.cluster.shared(stage.cluster.nodes.len()).await?;
            let caught_up = stage.caught_up().await?;
            stage.all_online().await?;
            let overlaps = stage.overlaps().await?;
            let phase = figures.as_object().map_or(0, serde_json::Map::len);
            figures[format!("overlapsAfterPhase{phase}")] = json!(overlaps);
            let how = if silent { "Silent" } else { "Cut" };
            say(&format!(
                "  node {victim} without {what}{}: not ready after {:.1} s; caught up {:.2} s after it was ready again",
                if silent { ", in silence" } else { "" },
                noticed.as_secs_f64(),
                caught_up.as_secs_f64()
            ));
            figures[format!("{what}{how}NotReadySeconds")] = json!(round(noticed.as_secs_f64()));
        }
        Ok(figures)
    })
    .await
}

/// How long a node is cut off. Without Postgres: past its lease, and until the other side gives up what was begun and
/// nobody ends. Without Redis it keeps its shards: past a lease is enough to see that.
fn long(what: &str) -> Duration {
    Duration::from_secs(if what == "postgres" { 2 * LEASE + 1 } else { LEASE + 1 })
}

/// Both servers are far away from every node for a while: everything goes on, slower. How long twenty accepts took.
async fn everything_slow(stage: &Stage) -> Result<Duration> {
    let late = Flow::Delay(Duration::from_millis(20));
    let ways = || stage.cluster.nodes.iter().flat_map(|node| [&node.tables, &node.streams]);
    ways().for_each(|way| way.flow(late, late));
    sleep(Duration::from_secs(LEASE + 1)).await;
    let accepted = stage.accepted_more(20).await?;
    stage.all_online().await?;
    ways().for_each(Proxy::heal);
    say(&format!("  40 ms away: twenty accepts took {:.1} s", accepted.as_secs_f64()));
    Ok(accepted)
}

fn way<'s>(stage: &'s Stage, node: usize, what: &str) -> &'s Proxy {
    let node = &stage.cluster.nodes[node];
    if what == "redis" { &node.streams } else { &node.tables }
}

fn way_healed(stage: &Stage, node: usize, what: &str) {
    let way = way(stage, node, what);
    way.cut();
    way.heal();
}

/// Waits until the front sees every node ready: what it sees next is of our making.
async fn all_ready(stage: &Stage) -> Result<()> {
    let (started, nodes) = (Instant::now(), stage.cluster.nodes.len());
    while (0..nodes).any(|node| stage.cluster.front.state(node) != State::Ready) {
        ensure!(started.elapsed() < NOTICED, "not all nodes are ready before the cut");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Waits until a node says that it is not ready; it must go on living.
async fn not_ready(stage: &Stage, node: usize) -> Result<Duration> {
    let started = Instant::now();
    loop {
        match stage.cluster.front.state(node) {
            State::Alive => return Ok(started.elapsed()),
            State::Ready | State::Dead => {}
        }
        ensure!(started.elapsed() < NOTICED, "node {node} does not say that it is not ready");
        sleep(Duration::from_millis(50)).await;
    }
}
