//! What a history of 100,000 messages does to sends that go on meanwhile: rows per second, and how long a send takes to
//! be accepted without and with it. On SQLite; with `-- --postgres`, on Postgres and Redis.
//!
//! The engine's own history sync is switched off (`with_skip_history_sync`), so no history reaches the service through a
//! link yet. Here it comes as it would from there: `Inbound` writes of one session with a linked phone's old chats, cut
//! as the session's sink cuts them, each begun when the one before is committed. Sends and history share one shard, and
//! so one ledger and one relay: the worst place for both.

#![allow(clippy::wildcard_enum_match_arm, reason = "any other answer is a mistake")]

mod engines;
#[path = "relay/outbox.rs"]
#[allow(dead_code, reason = "the relay's bench uses all of it")]
mod outbox;
mod rig;
#[path = "relay/tree.rs"]
#[allow(dead_code, reason = "the relay's bench uses all of it")]
mod tree;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use outbox::{accept, own, sessions};
use recado::actors::ledger::Ledgers;
use recado::domain::content::Content;
use recado::domain::ids::{Fence, SessionId, WaId};
use recado::domain::message::Direction;
use recado::domain::time::{Timestamp, now};
use recado::domain::write::{Inbound, InboundMessage, Write};
use recado::infra::store::Store;
use recado::infra::store::postgres::{PostgresStore, Settings};
use recado::infra::store::sqlite::SqliteStore;
use recado::infra::stream::Stream;
use recado::infra::stream::memory::{Limits, MemoryStream};
use recado::infra::stream::redis::{RedisStream, Settings as StreamSettings};
use rig::figures::{Samples, last_line, ms, rate, round, say};
use rig::setting;
use rig::world::folder;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};
use tree::Tree;

/// Chats the history is of.
const CHATS: u64 = 200;

/// The most of one run.
const WITHIN: Duration = Duration::from_secs(300);

fn main() -> Result<()> {
    if rig::asked("--postgres") {
        return rig::bench("history", on_postgres());
    }
    rig::bench("history", on_sqlite())
}

async fn on_sqlite() -> Result<()> {
    let folder = folder()?;
    let store = Arc::new(SqliteStore::open(&folder.path().join("recado.db")).await?);
    measure("sqlite", store, Arc::new(MemoryStream::new(Limits::default()))).await
}

async fn on_postgres() -> Result<()> {
    let engines = engines::Engines::start().await?;
    let store = Arc::new(PostgresStore::open(&engines.url, Settings::default()).await?);
    let stream = RedisStream::open(&engines.redis.url(), StreamSettings::default())?;
    measure("postgres", store, Arc::new(stream)).await
}

async fn measure(name: &str, store: Arc<dyn Store>, stream: Arc<dyn Stream>) -> Result<()> {
    let fence = own(&*store).await?;
    let sessions = sessions(&*store).await?;
    let (one, others) = sessions.split_first().context("no session")?;
    let tree = Tree::start(&store, &stream, fence).await?;
    let messages = setting("HISTORY_MESSAGES", 100_000);
    let alone = Duration::from_secs(setting("HISTORY_ALONE_SECONDS", 10));
    say(&format!("sends alone for {} s, then with a history of {messages} messages…", alone.as_secs()));
    let mut before = sends(&tree.ledgers, others, async {
        tokio::time::sleep(alone).await;
        Ok(())
    })
    .await?
    .0;
    let old = (0..messages).map(past).collect::<Result<Vec<_>>>()?;
    let history = ingest(&tree.ledgers, (fence, *one), &old);
    let (mut during, took) = sends(&tree.ledgers, others, history).await?;
    tree.stop().await?;

    let rows = rate(usize::try_from(messages)?, took);
    let mut both = |share| (before.percentile(share), during.percentile(share));
    let ((p50, with50), (p99, with99)) = (both(0.5), both(0.99));
    say(&format!("  {messages} messages in {:.1} s: {rows:.0} a second", took.as_secs_f64()));
    say(&format!("  a send alone              p50 {p50:.2} ms, p99 {p99:.2} ms"));
    say(&format!(
        "  with the history          p50 {with50:.2} ms, p99 {with99:.2} ms: {:.2} x",
        with99 / p99
    ));
    last_line(
        "history",
        &json!({
            "store": name, "messages": messages, "seconds": round(took.as_secs_f64()), "rowsPerSecond": rows,
            "atOnce": at_once(), "sendsPerSecond": setting("HISTORY_SENDS", 200), "p50Ms": p50, "p99Ms": p99,
            "p50MsWith": with50, "p99MsWith": with99, "p99Changed": round(with99 / p99),
        }),
    );
    Ok(())
}

/// Accepts messages at a steady pace for as long as `meanwhile` takes; how long each took, and how long it was.
async fn sends(
    ledgers: &Ledgers,
    sessions: &[SessionId],
    meanwhile: impl Future<Output = Result<()>>,
) -> Result<(Samples, Duration)> {
    let mut beat = interval(Duration::from_secs(1) / u32::try_from(setting("HISTORY_SENDS", 200))?);
    let (started, mut of, mut writers) = (Instant::now(), sessions.iter().cycle(), JoinSet::new());
    let mut times = Samples::default();
    let mut meanwhile = std::pin::pin!(timeout(WITHIN, meanwhile));
    let took = loop {
        tokio::select! {
            ended = &mut meanwhile => {
                ended.context("it took too long")??;
                break started.elapsed();
            }
            _ = beat.tick() => {
                let write = accept(*of.next().context("no session")?)?;
                writers.spawn(timed(ledgers.clone(), write));
            }
            Some(done) = writers.join_next(), if !writers.is_empty() => times.add(done??),
        }
    };
    while let Some(done) = writers.join_next().await {
        times.add(done??);
    }
    Ok((times, took))
}

async fn timed(ledgers: Ledgers, write: Write) -> Result<f64> {
    let started = Instant::now();
    ledgers.write(write).await?;
    Ok(ms(started.elapsed()))
}

fn at_once() -> usize {
    usize::try_from(setting("HISTORY_AT_ONCE", Inbound::AT_ONCE as u64)).unwrap_or(1).max(1)
}

async fn ingest(
    ledgers: &Ledgers,
    (fence, session): (Fence, SessionId),
    messages: &[InboundMessage],
) -> Result<()> {
    let writes = messages
        .chunks(at_once())
        .map(|some| Write::Inbound(Inbound { fence, session, messages: some.to_vec(), at: now() }));
    Ok(ledgers.write_by_and_by(writes).await?)
}

/// Chat after chat, oldest first, as a phone hands them over.
fn past(number: u64) -> Result<InboundMessage> {
    let chat = number / 500 % CHATS;
    let other = Some(format!("1555{chat:07}@s.whatsapp.net").parse()?);
    let from_me = number.is_multiple_of(3);
    Ok(InboundMessage {
        wa_id: WaId(format!("3EB0{number:028X}")),
        chat_pn: other.clone(),
        chat_lid: None,
        sender_pn: if from_me { Some("15550100999@s.whatsapp.net".parse()?) } else { other },
        sender_lid: None,
        direction: if from_me { Direction::Out } else { Direction::In },
        push_name: (!from_me).then(|| format!("Friend {chat}")),
        content: Content::Text { text: "A message of the usual length, about so.".into(), reply_to: None },
        sent_at: Timestamp(1_700_000_000_000 + i64::try_from(number)? * 1_000),
    })
}
