//! Two nodes on the same tables and the same Redis: what one commits for the other's shard wakes the other's relay.

use std::sync::Arc;
use std::time::Duration;

use ractor::Actor;
use recado::actors::hints;
use recado::domain::event::Log;
use recado::infra::store::Store;
use recado::infra::stream::Stream;
use tokio::time::Instant;

use crate::rig::{EVENTS, Node, Rig, SHARD, SOON, eventually, outsider};
use crate::servers::redis::{Keeps, Redis, open};

async fn listen(rig: &Rig, node: &Node) {
    let port = Arc::new(open(&rig.redis.url(), rig.settings.clone()));
    let args = hints::Arguments { hints: port, relays: node.relays.clone(), shards: 1 };
    Actor::spawn(None, hints::Hints, args).await.unwrap();
}

async fn listeners(rig: &Rig, count: i64) {
    let channel = format!("{}recado-hints", rig.settings.prefix);
    eventually("both listen", async || {
        let mut outsider = outsider(&rig.redis.url()).await;
        let mut ask = redis::cmd("PUBSUB");
        let told: (String, i64) = ask.arg("NUMSUB").arg(&channel).query_async(&mut outsider).await.unwrap();
        told.1 == count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_elsewhere_wakes_the_owner_at_once_and_again_after_redis_was_away() {
    let rig = Rig::new(Redis::start(Keeps::Nothing), 3).await;
    // The rig's own node commits and owns nothing; the owner would look by itself in an hour.
    let owner = Node::new();
    owner.start_ledger(&rig.store).await;
    let fence = rig.take().await;
    rig.relay(fence, &owner, Duration::from_secs(3600)).await;
    for node in [&rig.node, &owner] {
        listen(&rig, node).await;
    }
    for loss in [false, true] {
        if loss {
            rig.redis.restart();
        }
        listeners(&rig, 2).await;
        for _ in 0..5 {
            let asked = Instant::now();
            rig.send(1).await;
            let all = rig.store.head(SHARD, Log::DomainEvents).await.unwrap();
            let all = all.head.plus(usize::try_from(all.unstamped).unwrap());
            eventually("published", async || rig.stream.tail(EVENTS).await.ok() == Some(all)).await;
            println!("published after {:?}", asked.elapsed());
            assert!(asked.elapsed() < SOON / 4);
        }
    }
}
