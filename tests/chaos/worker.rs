//! A node with a consumer group of the test's own: the real service with the real consumer, and a handler whose effect is a
//! row in a table. The rig starts this test binary once more for each such node.
//!
//! The effect is written together with the event's id, which is the inbox that the handler's contract asks of a sink. Every
//! call is noted apart, so that what a sink without an inbox would have suffered can be counted. Told so, it dies between
//! the effect and its acknowledgement.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use recado::actors::handler::{Delivery, Failure, Handler};
use recado::actors::tree::Group;
use recado::commands::service::Service;
use recado::config::Config;
use recado::domain::event::{Entry, Log};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::signal::unix::{SignalKind, signal};

/// Where the effects go: past all proxies, as a sink of its own would be.
pub(crate) const SINK: &str = "CHAOS_SINK";

/// Die after so many effects; 0 for never.
pub(crate) const DIE_AFTER: &str = "CHAOS_DIE_AFTER";

/// Each effect takes so many milliseconds.
pub(crate) const SLOW: &str = "CHAOS_EFFECT_MS";

/// How the rig starts a worker.
pub(crate) fn words() -> Vec<String> {
    ["worker::a_node_when_the_rig_says_so", "--exact", "--ignored", "--nocapture"].map(str::to_owned).into()
}

#[test]
#[ignore = "not a test: the rig starts it as a node"]
fn a_node_when_the_rig_says_so() {
    let sink = std::env::var(SINK).expect("started by the rig");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(serve(&sink)).expect("a node");
}

async fn serve(sink: &str) -> Result<()> {
    let config = Config::from_environment()?;
    recado::telemetry::start_logs(&config.log_level, config.log_format)?;
    let key_file = config.api_key_file.clone().context("a file for the key")?;
    let pool = PgPoolOptions::new().max_connections(4).connect_lazy(sink)?;
    let handler = Arc::new(Sink {
        pool,
        left: AtomicU64::new(number(DIE_AFTER)),
        takes: Duration::from_millis(number(SLOW)),
    });
    let group = Group { name: "effects".into(), log: Log::DomainEvents, handler };
    let mut service = Service::start(config, vec![group]).await?;
    if let Some(key) = service.first_key().await? {
        std::fs::write(key_file, key)?;
        service.first_key_told()?;
    }
    let mut term = signal(SignalKind::terminate())?;
    tokio::select! {
        _told = term.recv() => {}
        () = service.failed() => anyhow::bail!("the tree failed"),
    }
    anyhow::ensure!(service.stop().await, "it stopped late");
    Ok(())
}

fn number(name: &str) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}

struct Sink {
    pool: PgPool,
    /// Effects until the end; 0 for none.
    left: AtomicU64,
    takes: Duration,
}

#[async_trait]
impl Handler for Sink {
    async fn handle(&self, delivery: &Delivery) -> Result<(), Failure> {
        for (n, entry) in delivery.entries.iter().enumerate() {
            tokio::time::sleep(self.takes).await;
            let effect = self.effect(entry).await;
            effect.map_err(|error| Failure::Retry { error: error.to_string(), after: None })?;
            if self.left.load(Ordering::Relaxed) > 0 && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
                // Between the effect and its acknowledgement, without a goodbye.
                std::process::abort();
            }
            delivery.done(n + 1);
        }
        Ok(())
    }
}

impl Sink {
    async fn effect(&self, entry: &Entry) -> sqlx::Result<()> {
        let event = &entry.event;
        let called = "insert into chaos_calls (event_id) values ($1)";
        sqlx::query(called).bind(event.event_id.0).execute(&self.pool).await?;
        let mut tx = self.pool.begin().await?;
        let first = "insert into chaos_inbox (event_id) values ($1) on conflict do nothing";
        let first = sqlx::query(first).bind(event.event_id.0).execute(&mut *tx).await?;
        if first.rows_affected() > 0 {
            let effect = "insert into chaos_effects (event_id, session_id, seq) values ($1, $2, $3)";
            let effect = sqlx::query(effect).bind(event.event_id.0).bind(event.subject().0).bind(event.seq);
            effect.execute(&mut *tx).await?;
        }
        tx.commit().await
    }
}
