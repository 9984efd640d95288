//! Nodes that die and nodes that hang.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use recado::domain::time::{Timestamp, now};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::cluster::audit::connect;
use crate::cluster::node::{Node, Program};
use crate::cluster::{LEASE, Made};
use crate::rig::figures::{round, say};
use crate::rig::setting;
use crate::stage::{AGAIN, Size, Stage, play, play_sized};
use crate::verdict::Verdict;

/// 22: one node after the other is killed at a random moment, and with it the relays and consumers of its shards.
pub(crate) async fn killed_one_by_one() -> Result<Verdict> {
    let made = Made { program: Program::Worker, ..Made::default() };
    play("chaos-22", made, async |stage: &mut Stage| {
        let mut over = Vec::new();
        for kill in 0..stage.size.faults {
            let victim = stage.chance.below(stage.cluster.nodes.len());
            sleep(stage.chance.between(300, 1_500)).await;
            stage.cluster.nodes[victim].kill();
            let taken = taken_over(stage).await?;
            over.push(taken.as_secs_f64());
            say(&format!(
                "  kill {} of node {victim}: all connected elsewhere after {:.1} s",
                kill + 1,
                over[over.len() - 1]
            ));
            stage.cluster.nodes[victim].launch()?;
            stage.cluster.nodes[victim].ready().await?;
        }
        let slowest = over.iter().copied().fold(0.0, f64::max);
        Ok(json!({"kills": over.len(), "takeOverSecondsMost": round(slowest)}))
    })
    .await
}

/// 28: the whole service dies at once, again and again, and comes back.
pub(crate) async fn killed_all_at_once() -> Result<Verdict> {
    play("chaos-28", Made::default(), async |stage: &mut Stage| {
        let kills = stage.size.faults;
        for kill in 0..kills {
            sleep(stage.chance.between(300, 1_500)).await;
            stage.cluster.nodes.iter_mut().for_each(|node| node.kill());
            for node in &mut stage.cluster.nodes {
                node.launch()?;
            }
            let ready = stage.cluster.ready().await?;
            // Every second time it is killed again while its sessions are still connecting.
            let connected = if kill % 2 == 0 { stage.all_online().await? } else { Duration::ZERO };
            say(&format!(
                "  kill {}: ready after {:.1} s, connected after {:.1} s more",
                kill + 1,
                ready.as_secs_f64(),
                connected.as_secs_f64()
            ));
        }
        Ok(json!({"kills": kills}))
    })
    .await
}

/// 21 and 23: the owner of shards hangs for longer than its lease lasts, another takes over, and then it goes on.
pub(crate) async fn paused_past_the_lease() -> Result<Verdict> {
    let made = Made { program: Program::Worker, ..Made::default() };
    play("chaos-23", made, async |stage: &mut Stage| pauses(stage).await).await
}

/// Pauses one node after the other for longer than its lease.
pub(super) async fn pauses(stage: &mut Stage) -> Result<Value> {
    let pauses = stage.size.faults;
    for pause in 0..pauses {
        let victim = stage.chance.below(stage.cluster.nodes.len());
        stage.all_online().await?;
        let before = stage.overlaps().await?;
        stage.cluster.nodes[victim].pause()?;
        let (paused, mut conn) = (now(), connect(&stage.cluster.tables).await?);
        let held = sessions_of(&mut conn, &stage.cluster.nodes[victim]).await?;
        sleep(Duration::from_secs(2 * LEASE) + stage.chance.between(0, 1_000)).await;
        stage.cluster.shared(stage.cluster.nodes.len() - 1).await?;
        connected_since(stage, &mut conn, &held, paused).await?;
        conn.close().await?;
        // Its links were open all the time, since nobody told WhatsApp that it hangs: each is taken over once.
        let taken = stage.overlaps().await? - before;
        ensure!(taken <= held.len() as u64, "{taken} links were taken over of {}", held.len());
        stage.forgiven += taken;
        stage.cluster.nodes[victim].go_on()?;
        stage.cluster.nodes[victim].ready().await?;
        stage.cluster.shared(stage.cluster.nodes.len()).await?;
        say(&format!("  pause {} of node {victim}: {taken} links taken over, and it is back", pause + 1));
    }
    Ok(json!({"pauses": pauses, "linksTakenOverWhilePaused": stage.forgiven}))
}

/// The sessions of a node.
async fn sessions_of(conn: &mut PgConnection, node: &Node) -> Result<Vec<Uuid>> {
    let sql = "select id from sessions join leases using (shard) where address = $1 and deleted_at is null";
    Ok(sqlx::query_scalar(sql).bind(format!("http://{}", node.addr())).fetch_all(conn).await?)
}

/// Waits until all of these have been connected anew since a moment.
async fn connected_since(
    stage: &Stage,
    conn: &mut PgConnection,
    sessions: &[Uuid],
    since: Timestamp,
) -> Result<()> {
    let sql =
        "select count(*) from sessions where id = any($1) and state = 'connected' and connected_at > $2";
    let started = Instant::now();
    loop {
        let count: i64 = sqlx::query_scalar(sql).bind(sessions).bind(since.0).fetch_one(&mut *conn).await?;
        if usize::try_from(count)? == sessions.len() {
            return Ok(());
        }
        if started.elapsed() > AGAIN {
            let where_all_are = stage.whereabouts().await;
            bail!("{count} of {} sessions were taken over within {AGAIN:?}: {where_all_are}", sessions.len());
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the sessions of a killed node are connected again: first its links must have gone.
async fn taken_over(stage: &Stage) -> Result<Duration> {
    let started = Instant::now();
    sleep(Duration::from_millis(500)).await;
    stage.all_online().await?;
    Ok(started.elapsed())
}

/// Acceptance 3: many sessions on three nodes, one of which is killed and does not come back.
pub(crate) async fn one_of_three_gone() -> Result<Verdict> {
    let sessions = usize::try_from(setting("CHAOS_MANY_SESSIONS", 40))?;
    let size = Size { sessions, inbound_per_second: 40, ..Size::read() };
    play_sized("chaos-takeover", Made::default(), size, async |stage: &mut Stage| {
        sleep(Duration::from_secs(1)).await;
        stage.cluster.nodes[1].kill();
        let started = Instant::now();
        let left = wait_for_fewer(stage).await?;
        let connected = stage.all_online().await?;
        let last = started.elapsed();
        stage.cluster.shared(2).await?;
        say(&format!(
            "  {left} of {sessions} sessions lost their node; the last was connected again after {:.1} s",
            last.as_secs_f64()
        ));
        ensure!(connected > Duration::ZERO, "nothing had to connect again");
        Ok(json!({"sessionsMoved": left, "lastConnectedAgainSeconds": round(last.as_secs_f64())}))
    })
    .await
}

/// Waits until the sandbox has noticed that a node is gone; how many of its sessions are.
async fn wait_for_fewer(stage: &Stage) -> Result<u64> {
    let (mut admin, until) = (stage.cluster.sandbox.api(), Instant::now() + Duration::from_secs(10));
    let all = stage.accounts.len() as u64;
    while Instant::now() < until {
        let online = admin.get("/admin/stats").await?["online"].as_u64().unwrap_or(all);
        if online < all {
            return Ok(all - online);
        }
        sleep(Duration::from_millis(5)).await;
    }
    bail!("the killed node had no session")
}
