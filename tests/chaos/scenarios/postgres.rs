//! A Postgres that restarts, goes away, and is replaced by a standby that lacks the last commits.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::cluster::{Made, apart};
use crate::rig::figures::{round, say};
use crate::rig::setting;
use crate::stage::{Stage, play};
use crate::verdict::Verdict;

/// How soon sends are accepted again after Postgres is back.
const RECOVERED: Duration = Duration::from_secs(5);

/// 29: Postgres is restarted, dies, and then is out of reach of all nodes for a while.
pub(crate) async fn restarted_and_away() -> Result<Verdict> {
    play("chaos-29", Made::default(), async |stage: &mut Stage| {
        let mut slowest = Duration::ZERO;
        for crash in [false, true] {
            sleep(stage.chance.between(500, 1_500)).await;
            let postgres = stage.cluster.postgres.clone();
            apart(move || {
                if crash { postgres.kill() } else { postgres.stop() }
                postgres.start();
            })
            .await?;
            let recovered = stage.accepted_more(1).await?;
            slowest = slowest.max(recovered);
            say(&format!("  {}: accepting again {:.2} s after it is back", if crash { "crash" } else { "restart" }, recovered.as_secs_f64()));
        }
        let away = Duration::from_secs(setting("CHAOS_AWAY_SECS", 12));
        stage.cluster.nodes.iter().for_each(|node| node.tables.refuse());
        let answers = answers_while_away(stage, away).await?;
        stage.cluster.nodes.iter().for_each(|node| node.tables.heal());
        let recovered = stage.accepted_more(1).await?;
        let ready = stage.cluster.ready().await?;
        let connected = stage.all_online().await?;
        say(&format!(
            "  {} s away: accepting again after {:.2} s, ready after {:.2} s more, connected after {:.2} s more",
            away.as_secs(),
            recovered.as_secs_f64(),
            ready.as_secs_f64(),
            connected.as_secs_f64()
        ));
        slowest = slowest.max(recovered);
        ensure!(slowest <= RECOVERED, "accepting again only {slowest:?} after Postgres is back");
        Ok(json!({
            "awaySeconds": away.as_secs(), "refusedWhileAway": answers, "recoverySecondsMost": round(slowest.as_secs_f64()),
            "readySeconds": round((recovered + ready).as_secs_f64()),
        }))
    })
    .await
}

/// Asks for sends while nobody can store them: each must be refused as unavailable, within its deadline, and the nodes
/// must live and say that they are not ready. How many were refused.
async fn answers_while_away(stage: &mut Stage, away: Duration) -> Result<usize> {
    // What is on its way when the connection ends may still be answered either way.
    sleep(Duration::from_secs(1)).await;
    let until = Instant::now() + away;
    let mut refused = 0;
    while Instant::now() < until {
        let node = refused % stage.cluster.nodes.len();
        let mut api = stage.cluster.api(node);
        let body =
            json!({"to": stage.accounts[0].phone, "content": {"type": "text", "text": "nobody stores this"}});
        let path = format!("/sessions/{}/messages", stage.accounts[1].session);
        let key = format!("away-{refused}");
        let asked = Instant::now();
        let (status, answer) = api.call("POST", &path, Some(&key), &body.to_string()).await?;
        ensure!(status == 503 || status == 429, "answered {status} without tables: {answer}");
        ensure!(asked.elapsed() < Duration::from_secs(20), "refused only after {:?}", asked.elapsed());
        refused += 1;
        let (alive, _) = api.call("GET", "/livez", None, "").await?;
        ensure!(alive == 200, "a node without tables is not alive: {alive}");
        sleep(Duration::from_millis(200)).await;
    }
    for node in 0..stage.cluster.nodes.len() {
        let (ready, answer) = stage.cluster.api(node).call("GET", "/readyz", None, "").await?;
        ensure!(ready == 503, "node {node} is {ready} without tables: {answer}");
    }
    ensure!(refused > 0, "nothing was asked");
    Ok(refused)
}
