//! What a consumer gives up on is shown on a stream; the table is the truth, also while there is no stream.

use std::sync::Arc;

use async_trait::async_trait;
use recado::actors::handler::{Delivery, Failure, Handler};
use recado::domain::ids::TenantId;
use recado::domain::view::PageRequest;
use recado::infra::store::Store;

use crate::rig::{Rig, eventually, outsider};
use crate::servers::redis::{Keeps, Redis};

/// Refuses every tenth event for good; of these, the sessions' later ones go on.
struct Picky;

#[async_trait]
impl Handler for Picky {
    async fn handle(&self, delivery: &Delivery) -> Result<(), Failure> {
        for (n, entry) in delivery.entries.iter().enumerate() {
            if entry.position.0 % 10 == 0 {
                return Err(Failure::Permanent { error: "not to its taste".into() });
            }
            delivery.done(n + 1);
        }
        Ok(())
    }
}

async fn letters(rig: &Rig) -> usize {
    let page = PageRequest { cursor: None, limit: 1000, among: None };
    rig.store.dead_letters(TenantId::DEFAULT, None, page).await.unwrap().items.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_has_a_copy_and_without_redis_is_still_in_the_table() {
    let rig = Rig::new(Redis::start(Keeps::Nothing), 10).await;
    rig.shard().await;
    let fence = rig.take().await;
    rig.relay(fence, &rig.node, recado::actors::relay::Settings::default().poll).await;
    rig.consumer(fence, Arc::new(Picky)).await;
    let start = letters(&rig).await;
    rig.send(20).await;
    rig.settled().await;
    let buried = letters(&rig).await - start;
    let copies = async || {
        let mut outsider = outsider(&rig.redis.url()).await;
        let key = format!("{}domain-events-dlq", rig.settings.prefix);
        let found: redis::streams::StreamRangeReply =
            redis::cmd("XRANGE").arg(&key).arg("-").arg("+").query_async(&mut outsider).await.unwrap();
        found.ids
    };
    eventually("every letter has its copy", async || copies().await.len() == buried).await;
    println!("{buried} dead letters, {} copies", copies().await.len());
    assert!(buried >= 10, "{buried}");
    for copy in copies().await {
        assert_eq!(copy.get::<String>("group").unwrap(), "sink");
        assert_eq!(copy.get::<String>("error").unwrap(), "not to its taste");
        let event: recado::domain::event::Event =
            serde_json::from_str(&copy.get::<String>("payload").unwrap()).unwrap();
        assert_eq!(event.position.0 % 10, 0);
    }
    rig.redis.kill();
    let before = letters(&rig).await;
    // A hundred events: ten of them are refused.
    rig.send(10).await;
    eventually("they are in the table", async || letters(&rig).await == before + 10).await;
}
