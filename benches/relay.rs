//! How fast the relay drains 100,000 waiting events into the stream, against plain inserts of the same bodies.
//!
//! The outbox is filled through the store while no relay runs; then ledger and relay are started as in the tree.

#![allow(clippy::wildcard_enum_match_arm, reason = "any other answer is a mistake")]

mod rig;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use recado::actors::consumer::Consumers;
use recado::actors::ledger::{self, Ledger, Ledgers};
use recado::actors::relay::{self, Relay, Relays};
use recado::actors::supervisor::{self, Policy, Restart, leaf, leaf_known};
use recado::domain::command::CommandType;
use recado::domain::content::Content;
use recado::domain::event::Log;
use recado::domain::ids::{CommandId, Fence, MessageId, Position, SessionId, Shard, TenantId, WaId};
use recado::domain::session::Endpoint;
use recado::domain::time::now;
use recado::domain::write::{Accept, CreateSession, NewMessage, Outcome, TakeLease, Write};
use recado::infra::store::Store;
use recado::infra::store::sqlite::SqliteStore;
use recado::infra::stream::memory::{Limits, MemoryStream};
use recado::infra::stream::{Stream, StreamKey};
use rig::figures::{last_line, rate, round, say};
use rig::world::folder;
use rig::{plain, setting};
use serde_json::json;
use tokio::time::{Instant, sleep};

/// The one shard.
const SHARD: Shard = Shard(0);

/// Sessions that the events belong to.
const SESSIONS: usize = 100;

/// Writes of one transaction while filling, and rows of one transaction of the yardstick.
const BATCH: usize = 512;

/// No drain takes longer.
const DRAIN: Duration = Duration::from_secs(300);

fn main() -> Result<()> {
    rig::bench("relay", measure())
}

async fn measure() -> Result<()> {
    let folder = folder()?;
    let waiting = i64::try_from(setting("RELAY_EVENTS", 100_000))?;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.path().join("recado.db")).await?);
    let fence = own(&*store).await?;
    say(&format!("filling the outbox with {waiting} events…"));
    let waiting = fill(&*store, waiting).await?;
    let stream: Arc<dyn Stream> = Arc::new(MemoryStream::new(Limits::default()));
    let took = drain(&store, &stream, fence, waiting).await?;
    let per_second = rate(usize::try_from(waiting)?, took);

    let bodies = bodies(&*store).await?;
    ensure!(bodies.len() == usize::try_from(waiting)?, "{} of {waiting} numbered", bodies.len());
    let inserts = plain::inserts(folder.path(), &bodies, BATCH).await?;
    let body = bodies.first().context("no body")?;
    let commits = plain::commits(folder.path(), body, Duration::from_secs(3)).await?;
    say(&format!("  drained {waiting} events in {:.2} s: {per_second:.0} events/s", took.as_secs_f64()));
    say(&format!(
        "  plain inserts of the same bodies, {BATCH} per transaction: {inserts:.0}/s; one per transaction: {commits:.0}/s"
    ));
    last_line(
        "relay",
        &json!({
            "events": waiting, "eventsPerSecond": per_second, "seconds": round(took.as_secs_f64()),
            "plainInsertsPerSecond": inserts, "plainCommitsPerSecond": commits, "ratio": round(per_second / inserts),
        }),
    );
    Ok(())
}

async fn own(store: &dyn Store) -> Result<Fence> {
    let take = TakeLease {
        shard: SHARD,
        node: "bench".into(),
        address: String::new(),
        held: None,
        at: now(),
        ttl: Duration::from_secs(3600),
    };
    match one(store, Write::TakeLease(take)).await? {
        Outcome::Lease(Some(epoch)) => Ok(Fence { shard: SHARD, epoch }),
        other => bail!("no lease: {other:?}"),
    }
}

async fn one(store: &dyn Store, write: Write) -> Result<Outcome> {
    let mut answers = store.commit([write].into()).await?;
    Ok(answers.pop().context("no answer")??)
}

/// Accepts messages until so many rows wait to be numbered; how many do.
async fn fill(store: &dyn Store, wanted: i64) -> Result<i64> {
    let mut sessions = Vec::new();
    for n in 0..SESSIONS {
        let session = SessionId::new();
        one(store, Write::CreateSession(create(session, n)?)).await?;
        sessions.push(session);
    }
    let mut numbers = sessions.iter().cycle();
    for _round in 0..wanted {
        let waiting = unnumbered(store).await?;
        if waiting >= wanted {
            return Ok(waiting);
        }
        let batch = BATCH.min(usize::try_from((wanted - waiting + 1) / 2)?);
        let writes: Vec<Write> =
            numbers.by_ref().take(batch).map(|session| accept(*session)).collect::<Result<_>>()?;
        for answer in store.commit(writes.into()).await? {
            answer?;
        }
    }
    bail!("the outbox did not fill")
}

async fn unnumbered(store: &dyn Store) -> Result<i64> {
    let mut waiting = 0;
    for log in Log::ALL {
        waiting += store.head(SHARD, log).await?.unstamped;
    }
    Ok(waiting)
}

fn create(session: SessionId, n: usize) -> Result<CreateSession> {
    let endpoint: Endpoint = serde_json::from_value(
        json!({"kind": "sandbox", "url": "ws://127.0.0.1:9/ws/chat", "staticKey": "07".repeat(32)}),
    )?;
    Ok(CreateSession {
        tenant: TenantId::DEFAULT,
        session,
        shard: SHARD,
        name: Some(format!("relay-{n}")),
        endpoint,
        start: None,
        response: json!({}),
        idempotency: None,
        at: now(),
        limit: 1_000_000,
    })
}

fn accept(session: SessionId) -> Result<Write> {
    let id = MessageId::new();
    let content = Content::Text { text: "A message of the usual length, about so.".into(), reply_to: None };
    let message = NewMessage {
        id,
        wa_id: WaId::of(id),
        to: "15550100199".parse()?,
        content,
        deadline: now().after(Duration::from_secs(3600)),
    };
    Ok(Write::Accept(Accept {
        tenant: TenantId::DEFAULT,
        session,
        shard: SHARD,
        command: CommandId::new(),
        kind: CommandType::SendMessage,
        message: Some(message),
        response: json!({"messageId": id}),
        idempotency: None,
        at: now(),
        queue_limit: 1_000_000,
    }))
}

/// Starts ledger and relay and waits until the streams hold everything.
async fn drain(
    store: &Arc<dyn Store>,
    stream: &Arc<dyn Stream>,
    fence: Fence,
    waiting: i64,
) -> Result<Duration> {
    let (ledgers, relays) = (Ledgers::new(4096), Relays::new(1));
    let started = Instant::now();
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
        let (store, stream) = (store.clone(), stream.clone());
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
    let took = loop {
        let mut carried = 0;
        for log in Log::ALL {
            carried += stream.tail(StreamKey { shard: SHARD, log }).await?.0;
        }
        if carried >= waiting {
            break started.elapsed();
        }
        ensure!(started.elapsed() < DRAIN, "{carried} of {waiting} carried within {DRAIN:?}");
        sleep(Duration::from_millis(2)).await;
    };
    ensure!(supervisor::shutdown(&root, Duration::from_secs(30)).await, "the actors did not stop");
    Ok(took)
}

/// The numbered rows as JSON.
async fn bodies(store: &dyn Store) -> Result<Vec<String>> {
    let mut bodies = Vec::new();
    for log in Log::ALL {
        let mut after = Position(0);
        loop {
            let rows = store.log_after(SHARD, log, after, 1000).await?;
            let Some(last) = rows.last() else { break };
            after = last.position;
            for row in &rows {
                bodies.push(serde_json::to_string(&*row.event)?);
            }
        }
    }
    Ok(bodies)
}
