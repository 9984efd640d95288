//! A Redis that dies, forgets, and loses the end of its log.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::time::sleep;

use crate::cluster::node::Program;
use crate::cluster::streams::{connect, name};
use crate::cluster::{Made, SHARDS, apart};
use crate::rig::figures::{round, say};
use crate::stage::{Stage, play};
use crate::verdict::Verdict;

fn workers() -> Made {
    Made { program: Program::Worker, ..Made::default() }
}

/// 24: Redis is killed and started again on what it had written down, a second before at most.
pub(crate) async fn killed() -> Result<Verdict> {
    play("chaos-24", workers(), async |stage: &mut Stage| {
        let (kills, mut slowest) = (stage.size.faults, Duration::ZERO);
        for kill in 0..kills {
            sleep(stage.chance.between(1_000, 3_000)).await;
            let (redis, away) = (stage.cluster.redis.clone(), stage.chance.between(0, 1_500));
            apart(move || redis.kill()).await?;
            sleep(away).await;
            let redis = stage.cluster.redis.clone();
            apart(move || redis.again()).await?;
            let caught_up = stage.caught_up().await?;
            slowest = slowest.max(caught_up);
            say(&format!("  kill {}: caught up after {:.2} s", kill + 1, caught_up.as_secs_f64()));
        }
        Ok(json!({"kills": kills, "catchUpSecondsMost": round(slowest.as_secs_f64())}))
    })
    .await
}

/// 25: Redis forgets everything while events are published.
pub(crate) async fn flushed() -> Result<Verdict> {
    play("chaos-25", workers(), async |stage: &mut Stage| {
        let (flushes, mut slowest) = (stage.size.faults, Duration::ZERO);
        for flush in 0..flushes {
            sleep(stage.chance.between(1_000, 3_000)).await;
            let redis = stage.cluster.redis.clone();
            apart(move || redis.flush()).await?;
            let caught_up = stage.caught_up().await?;
            slowest = slowest.max(caught_up);
            say(&format!("  flush {}: caught up after {:.2} s", flush + 1, caught_up.as_secs_f64()));
        }
        let groups = groups(stage).await?;
        anyhow::ensure!(groups == 3 * usize::from(SHARDS), "{groups} groups after the flushes");
        Ok(json!({"flushes": flushes, "groups": groups, "catchUpSecondsMost": round(slowest.as_secs_f64())}))
    })
    .await
}

/// How many groups read the streams: one of commands, one of events and one that mails, on each shard.
async fn groups(stage: &Stage) -> Result<usize> {
    let mut conn = connect(stage.redis()?).await?;
    let mut groups = 0;
    for shard in 0..i32::from(SHARDS) {
        for log in [0, 1] {
            let asked: redis::RedisResult<Vec<redis::Value>> =
                redis::cmd("XINFO").arg("GROUPS").arg(name((shard, log))).query_async(&mut conn).await;
            groups += asked.map_or(0, |groups| groups.len());
        }
    }
    Ok(groups)
}

/// 26: the power fails, and the last fifth of what Redis had written down is gone.
pub(crate) async fn cut_short() -> Result<Verdict> {
    play("chaos-26", workers(), async |stage: &mut Stage| {
        sleep(stage.chance.between(2_000, 4_000)).await;
        let redis = stage.cluster.redis.clone();
        let cut = apart(move || -> Result<u64> {
            redis.kill();
            let log = redis.log();
            let (length, file) = (log.metadata()?.len(), std::fs::File::options().write(true).open(&log)?);
            let kept = length - length / 5;
            file.set_len(kept)?;
            redis.again();
            Ok(length - kept)
        });
        let cut = cut.await??;
        let caught_up = stage.caught_up().await?;
        say(&format!("  {cut} bytes cut: caught up after {:.2} s", caught_up.as_secs_f64()));
        Ok(json!({"cutBytes": cut, "catchUpSecondsMost": round(caught_up.as_secs_f64())}))
    })
    .await
}
