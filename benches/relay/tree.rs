//! Ledger and relay of one shard, started as in the tree.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use ractor::ActorRef;
use recado::actors::consumer::Consumers;
use recado::actors::ledger::{self, Ledger, Ledgers};
use recado::actors::relay::{self, Relay, Relays};
use recado::actors::supervisor::{self, Policy, Restart, leaf, leaf_known};
use recado::domain::event::Log;
use recado::domain::ids::Fence;
use recado::infra::store::Store;
use recado::infra::stream::{Stream, StreamKey};
use tokio::time::{Instant, sleep};

use crate::outbox::SHARD;

/// No drain takes longer.
const DRAIN: Duration = Duration::from_secs(300);

/// The running actors, and the way to them.
pub(crate) struct Tree {
    root: ActorRef<supervisor::Msg>,
    pub(crate) ledgers: Ledgers,
}

impl Tree {
    /// Starts both.
    pub(crate) async fn start(
        store: &Arc<dyn Store>,
        stream: &Arc<dyn Stream>,
        fence: Fence,
    ) -> Result<Self> {
        let (ledgers, relays) = (Ledgers::new(4096), Relays::new(1));
        let writer = {
            let (store, relays, ledgers) = (store.clone(), relays.clone(), ledgers.clone());
            let known = ledgers.clone();
            let make = move || {
                let (store, relays, ledgers) = (store.clone(), relays.clone(), ledgers.clone());
                (Ledger, ledger::Arguments { store, relays, consumers: Consumers::default(), ledgers })
            };
            leaf_known("ledger", "ledger", Restart::Permanent, make, move |actor| known.attach(actor.clone()))
        };
        let carrier = {
            let (store, stream, ledgers) = (store.clone(), stream.clone(), ledgers.clone());
            leaf("relay", "relay", Restart::Permanent, move || {
                let arguments = relay::Arguments {
                    fence,
                    relays: relays.clone(),
                    ledgers: ledgers.clone(),
                    store: store.clone(),
                    stream: stream.clone(),
                    settings: relay::Settings::default(),
                };
                (Relay, arguments)
            })
        };
        relay::prepare(&**store, &**stream, SHARD, &[]).await?;
        let (root, _ended) = supervisor::spawn_root(Policy::escalate(), vec![writer, carrier]).await?;
        Ok(Self { root, ledgers })
    }

    /// Ends both in good order.
    pub(crate) async fn stop(self) -> Result<()> {
        let stopped = supervisor::shutdown(&self.root, Duration::from_secs(30)).await;
        ensure!(stopped, "the actors did not stop");
        Ok(())
    }
}

/// Starts ledger and relay and waits until the streams hold everything; how long both took.
pub(crate) async fn drain(
    store: &Arc<dyn Store>,
    stream: &Arc<dyn Stream>,
    fence: Fence,
    waiting: i64,
) -> Result<Duration> {
    let started = Instant::now();
    let tree = Tree::start(store, stream, fence).await?;
    carried(stream, waiting).await?;
    let took = started.elapsed();
    tree.stop().await?;
    Ok(took)
}

/// Waits until the streams hold so many entries.
pub(crate) async fn carried(stream: &Arc<dyn Stream>, waiting: i64) -> Result<()> {
    let started = Instant::now();
    loop {
        let mut carried = 0;
        for log in Log::ALL {
            carried += stream.tail(StreamKey { shard: SHARD, log }).await?.0;
        }
        if carried >= waiting {
            return Ok(());
        }
        ensure!(started.elapsed() < DRAIN, "{carried} of {waiting} carried within {DRAIN:?}");
        sleep(Duration::from_millis(2)).await;
    }
}
