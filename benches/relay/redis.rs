//! The same from Postgres into Redis: rows that wait without a position, next to XADD of the same bodies, 512 commands in one go; then how long a commit takes to the stream
//! under a steady load.
//!
//! A delay begins when the commit is answered, which is when the relay is told, and ends when a reader that waits in
//! XREAD has the entry; one that is there before the answer counts as 0. It is also taken from the moment the write was
//! asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use recado::domain::event::{Entry, Log};
use recado::domain::ids::{Fence, Position, SessionId};
use recado::domain::write::Write;
use recado::infra::store::Store;
use recado::infra::store::postgres::{PostgresStore, Settings};
use recado::infra::stream::redis::{RedisStream, Settings as StreamSettings};
use recado::infra::stream::{Stream, StreamKey};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

use crate::engines::Engines;
use crate::outbox::{BATCH, SHARD, accept, bodies, fill, own, sessions};
use crate::rig::figures::{Samples, last_line, ms, rate, round, say};
use crate::rig::setting;
use crate::tree::{Tree, carried, drain};

/// How often the load is given: each time its share of a second.
const BEAT: Duration = Duration::from_millis(5);

/// How long the last entries may take.
const LAST: Duration = Duration::from_secs(30);

pub(crate) async fn measure() -> Result<()> {
    let engines = Engines::start().await?;
    let waiting = i64::try_from(setting("RELAY_EVENTS", 200_000))?;
    let store: Arc<dyn Store> = Arc::new(PostgresStore::open(&engines.url, Settings::default()).await?);
    let fence = own(&*store).await?;
    let sessions = sessions(&*store).await?;
    say(&format!("filling the outbox with {waiting} events…"));
    let waiting = fill(&*store, &sessions, waiting).await?;
    let stream: Arc<dyn Stream> =
        Arc::new(RedisStream::open(&engines.redis.url(), StreamSettings::default())?);
    let drained = drain(&store, &stream, fence, waiting).await?;

    let bodies = bodies(&*store).await?;
    ensure!(bodies.len() == usize::try_from(waiting)?, "{} of {waiting} numbered", bodies.len());
    engines.redis.flush();
    let xadds = xadds(&engines.redis.url(), &bodies).await?;
    engines.redis.flush();
    let mut live = Live::measure(&store, &stream, fence, &sessions).await?;

    let drained_per = rate(bodies.len(), drained);
    say(&format!("  drained {waiting} events in {:.2} s: {drained_per:.0} events/s", drained.as_secs_f64()));
    say(&format!("  XADD of the same bodies, {BATCH} in one go: {xadds:.0}/s"));
    let (p50, p99) = (live.delays.percentile(0.5), live.delays.percentile(0.99));
    say(&format!(
        "  {:.0} events/s committed: commit to stream p50 {p50:.2} ms, p99 {p99:.2} ms",
        live.per_second
    ));
    last_line(
        "relay",
        &json!({
            "store": "postgres", "stream": "redis", "events": waiting,
            "eventsPerSecond": drained_per, "seconds": round(drained.as_secs_f64()),
            "xaddsPerSecond": xadds, "ratio": round(drained_per / xadds),
            "liveEventsPerSecond": live.per_second, "liveEvents": live.delays.len(),
            "liveP50Ms": p50, "liveP99Ms": p99,
            "fromRequestP50Ms": live.whole.percentile(0.5), "fromRequestP99Ms": live.whole.percentile(0.99),
        }),
    );
    Ok(())
}

/// Plain XADD of these bodies per second.
async fn xadds(url: &str, bodies: &[String]) -> Result<f64> {
    let mut conn = ::redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let started = Instant::now();
    for some in bodies.chunks(BATCH) {
        let mut pipe = ::redis::pipe();
        for body in some {
            pipe.cmd("XADD").arg("plain").arg("*").arg("payload").arg(body).ignore();
        }
        pipe.query_async::<()>(&mut conn).await?;
    }
    Ok(rate(bodies.len(), started.elapsed()))
}

/// When messages were asked for and answered.
type Book = Arc<Mutex<HashMap<String, (Instant, Instant)>>>;

/// When each message was seen in a log.
type Seen = Vec<(String, Instant)>;

/// What a steady load saw.
struct Live {
    per_second: f64,
    delays: Samples,
    whole: Samples,
}

impl Live {
    async fn measure(
        store: &Arc<dyn Store>,
        stream: &Arc<dyn Stream>,
        fence: Fence,
        sessions: &[SessionId],
    ) -> Result<Self> {
        let tree = Tree::start(store, stream, fence).await?;
        let mut heads = Vec::new();
        for log in Log::ALL {
            heads.push(store.head(SHARD, log).await?.head);
        }
        carried(stream, heads.iter().map(|head| head.0).sum()).await?;
        let messages = setting("RELAY_LIVE_SECONDS", 15) * setting("RELAY_LIVE_EVENTS", 2_000) / 2;
        say(&format!("{messages} messages, two events each, at a steady pace…"));
        let mut readers = JoinSet::new();
        for (log, after) in Log::ALL.into_iter().zip(heads) {
            readers.spawn(read(stream.clone(), StreamKey { shard: SHARD, log }, after, messages));
        }
        let book = Book::default();
        let took = load(&tree, sessions, messages, &book).await?;
        let book = std::mem::take(&mut *book.lock().unwrap_or_else(PoisonError::into_inner));
        let (mut delays, mut whole) = (Samples::default(), Samples::default());
        while let Some(seen) = readers.join_next().await {
            for (message, at) in seen?? {
                let (asked, answered) = book.get(&message).context("an event of a message nobody sent")?;
                delays.add(ms(at.saturating_duration_since(*answered)));
                whole.add(ms(at.saturating_duration_since(*asked)));
            }
        }
        tree.stop().await?;
        Ok(Self { per_second: rate(delays.len(), took), delays, whole })
    }
}

/// Gives the load its pace; how long it lasted.
async fn load(tree: &Tree, sessions: &[SessionId], messages: u64, book: &Book) -> Result<Duration> {
    let share = messages * u64::try_from(BEAT.as_millis())? / (setting("RELAY_LIVE_SECONDS", 15) * 1_000);
    let (started, mut beat, mut given) = (Instant::now(), interval(BEAT), 0);
    let (mut writers, mut of) = (JoinSet::new(), sessions.iter().cycle());
    while given < messages {
        beat.tick().await;
        for session in of.by_ref().take(usize::try_from(share.clamp(1, messages - given))?) {
            writers.spawn(write(tree.ledgers.clone(), accept(*session)?, book.clone()));
            given += 1;
        }
    }
    let took = started.elapsed();
    while let Some(written) = writers.join_next().await {
        written??;
    }
    Ok(took)
}

async fn write(ledgers: recado::actors::ledger::Ledgers, write: Write, book: Book) -> Result<()> {
    let Write::Accept(accept) = &write else { bail!("not a message") };
    let message = accept.response["messageId"].as_str().context("no id")?.to_owned();
    let asked = Instant::now();
    ledgers.write(write).await?;
    let answered = Instant::now();
    book.lock().unwrap_or_else(PoisonError::into_inner).insert(message, (asked, answered));
    Ok(())
}

/// Reads a log until it has so many entries.
async fn read(stream: Arc<dyn Stream>, key: StreamKey, mut after: Position, count: u64) -> Result<Seen> {
    let mut seen = Vec::new();
    while seen.len() < usize::try_from(count)? {
        let found = timeout(LAST, stream.read_from(key, after, 1_000, Duration::from_secs(1))).await;
        let found =
            found.context("no entries come")??.context("entries were trimmed before they were read")?;
        let at = Instant::now();
        after = found.last().map_or(after, |last| last.position);
        for entry in &found {
            seen.push((message(entry)?, at));
        }
    }
    Ok(seen)
}

fn message(entry: &Entry) -> Result<String> {
    let data: serde_json::Value = serde_json::from_str(entry.event.data.as_str())?;
    let inside = if entry.event.kind == "message.queued" { &data } else { &data["payload"] };
    Ok(inside["messageId"].as_str().context("an event without its message")?.to_owned())
}
