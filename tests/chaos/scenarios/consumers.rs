//! Consumers that die between an effect and its acknowledgement, and consumers that are slow.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::nodes::pauses;
use crate::cluster::Made;
use crate::cluster::node::Program;
use crate::rig::figures::say;
use crate::rig::setting;
use crate::stage::{Stage, play};
use crate::verdict::Verdict;
use crate::worker::{DIE_AFTER, SLOW};

/// The whole of the kills may not take longer.
const KILLS: Duration = Duration::from_secs(30 * 60);

/// 31: the process dies between the effect and its acknowledgement, again and again.
pub(crate) async fn killed_between_effect_and_ack() -> Result<Verdict> {
    let made = Made { program: Program::Worker, ..Made::default() };
    let wanted = usize::try_from(setting("CHAOS_CONSUMER_KILLS", 6))?;
    let verdict = play("chaos-31", made, async |stage: &mut Stage| {
        let (mut kills, until) = (0, Instant::now() + KILLS);
        for node in 0..stage.cluster.nodes.len() {
            again(stage, node, true)?;
        }
        while kills < wanted {
            ensure!(Instant::now() < until, "only {kills} of {wanted} deaths{}", stage.cluster.last_words());
            for node in 0..stage.cluster.nodes.len() {
                if stage.cluster.nodes[node].has_ended()? {
                    kills += 1;
                    again(stage, node, kills < wanted)?;
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
        for node in 0..stage.cluster.nodes.len() {
            again(stage, node, false)?;
        }
        stage.cluster.ready().await?;
        say(&format!("  {kills} deaths between an effect and its acknowledgement"));
        Ok(json!({"deathsBetweenEffectAndAck": kills}))
    })
    .await?;
    let repeats = verdict.effects_repeated();
    ensure!(repeats >= wanted, "{wanted} deaths, and only {repeats} effects were asked for again");
    Ok(verdict)
}

/// Starts a node anew, to die again after a few effects or not at all.
fn again(stage: &mut Stage, node: usize, to_die: bool) -> Result<()> {
    let after = if to_die { 5 + stage.chance.below(60) } else { 0 };
    let node = &mut stage.cluster.nodes[node];
    node.kill();
    node.variables.retain(|(name, _)| name != DIE_AFTER);
    node.variables.push((DIE_AFTER.to_owned(), after.to_string()));
    node.launch()
}

/// 32: others claim what a slow owner holds: each effect takes its time, and owners hang in the middle of it.
pub(crate) async fn claimed_from_the_slow() -> Result<Verdict> {
    let variables = vec![
        (SLOW, "15".to_owned()),
        ("EVENTS_CLAIM_IDLE_MS", "4000".to_owned()),
        ("EVENTS_CLAIM_INTERVAL_MS", "500".to_owned()),
    ];
    let made = Made { program: Program::Worker, variables, ..Made::default() };
    play("chaos-32", made, async |stage: &mut Stage| pauses(stage).await).await
}
