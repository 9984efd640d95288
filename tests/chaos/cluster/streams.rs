//! The streams as Redis has them, compared with the tables entry by entry.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use redis::Value;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamInfoGroupsReply, StreamInfoStreamReply, StreamRangeReply};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::tables::{Key, Line, Tables, committed};
use super::{Cluster, SHARDS};

/// How long what was committed may take to be in the streams.
const CAUGHT_UP: Duration = Duration::from_secs(120);

/// The name of a log's stream.
pub(crate) fn name((shard, log): Key) -> String {
    let stream = if log == 0 { "domain-events" } else { "session-commands" };
    format!("{stream}:{{{shard}}}")
}

/// A connection past all proxies.
pub(crate) async fn connect(addr: SocketAddr) -> Result<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://{addr}/0"))?;
    let opening = client.get_multiplexed_async_connection();
    timeout(Duration::from_secs(10), opening).await.context("no Redis in time")?.context("Redis")
}

/// What is wrong with the streams.
#[derive(Default, Debug)]
pub(crate) struct Streams {
    pub(crate) entries: usize,
    /// In the tables above a stream's first entry, and not in the stream.
    pub(crate) lost: usize,
    /// Events that stand in a stream more than once.
    pub(crate) duplicates: usize,
    /// Entries that are not what the tables have at their position.
    pub(crate) diverged: usize,
}

/// Compares every stream with its log.
pub(crate) async fn compare(redis: SocketAddr, tables: &Tables) -> Result<Streams> {
    let mut conn = connect(redis).await?;
    let mut found = Streams::default();
    let nothing = Vec::new();
    for (key, head) in &tables.heads {
        let log = tables.logs.get(key).unwrap_or(&nothing);
        let tail = tail(&mut conn, *key).await?;
        found.lost += usize::try_from((head - tail).max(0))?;
        found.diverged += usize::from(tail > *head);
        found.compare(log, &entries(&mut conn, *key).await?);
    }
    Ok(found)
}

impl Streams {
    fn compare(&mut self, log: &[Line], entries: &[(i64, Option<Uuid>)]) {
        self.entries += entries.len();
        let mut seen = HashSet::new();
        let there: BTreeMap<i64, Option<Uuid>> = entries.iter().copied().collect();
        for (position, event) in entries {
            self.duplicates += usize::from(event.is_some_and(|event| !seen.insert(event)));
            let row = log.binary_search_by_key(position, |line| line.position).ok().map(|at| log[at].event);
            self.diverged += usize::from(row.is_none() || row != *event);
        }
        let Some((first, _)) = entries.first() else { return };
        let above = log.iter().filter(|line| line.position > *first);
        self.lost += above.filter(|line| !there.contains_key(&line.position)).count();
    }
}

/// The last positions that streams were ever given.
pub(crate) async fn tails<'k>(
    redis: SocketAddr,
    keys: impl IntoIterator<Item = &'k Key>,
) -> Result<BTreeMap<Key, i64>> {
    let mut conn = connect(redis).await?;
    let mut tails = BTreeMap::new();
    for key in keys {
        tails.insert(*key, tail(&mut conn, *key).await?);
    }
    Ok(tails)
}

/// How many entries all streams hold.
pub(crate) async fn held(redis: SocketAddr) -> Result<i64> {
    let mut conn = connect(redis).await?;
    let mut held = 0;
    for key in every_key() {
        held += redis::cmd("XLEN").arg(name(key)).query_async::<i64>(&mut conn).await?;
    }
    Ok(held)
}

/// Waits until no group holds an entry that it has not acknowledged; how many are left. After a failover Redis holds what
/// was acknowledged before, until each group has claimed it.
pub(crate) async fn pending(redis: SocketAddr) -> Result<usize> {
    let mut conn = connect(redis).await?;
    let until = Instant::now() + Duration::from_secs(90);
    loop {
        let mut pending = 0;
        for key in every_key() {
            let groups: redis::RedisResult<StreamInfoGroupsReply> =
                redis::cmd("XINFO").arg("GROUPS").arg(name(key)).query_async(&mut conn).await;
            pending += groups.map_or(0, |groups| groups.groups.iter().map(|group| group.pending).sum());
        }
        if pending == 0 || Instant::now() > until {
            return Ok(pending);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn every_key() -> impl Iterator<Item = Key> {
    (0..i32::from(SHARDS)).flat_map(|shard| [(shard, 0), (shard, 1)])
}

/// The last position a stream was ever given; 0 for one that is not there.
async fn tail(conn: &mut MultiplexedConnection, key: Key) -> Result<i64> {
    let info: redis::RedisResult<StreamInfoStreamReply> =
        redis::cmd("XINFO").arg("STREAM").arg(name(key)).query_async(conn).await;
    match info {
        Ok(info) => position(&info.last_generated_id),
        Err(error) if error.to_string().contains("no such key") => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn position(id: &str) -> Result<i64> {
    let number = id.strip_suffix("-0").with_context(|| format!("a foreign id {id}"))?;
    Ok(number.parse()?)
}

/// Every entry: its position and its event's id.
async fn entries(conn: &mut MultiplexedConnection, key: Key) -> Result<Vec<(i64, Option<Uuid>)>> {
    let range: StreamRangeReply =
        redis::cmd("XRANGE").arg(name(key)).arg("-").arg("+").query_async(conn).await?;
    let entry = |entry: redis::streams::StreamId| {
        let event = match entry.map.get("eventId") {
            Some(Value::BulkString(text)) => Uuid::parse_str(&String::from_utf8_lossy(text)).ok(),
            Some(_) | None => None,
        };
        Ok((position(&entry.id)?, event))
    };
    range.ids.into_iter().map(entry).collect()
}

/// Waits until everything that is committed now is in the streams; how long that took.
pub(crate) async fn caught_up(cluster: &Cluster, redis: SocketAddr) -> Result<Duration> {
    let started = Instant::now();
    let committed = committed(cluster).await?;
    let mut conn = connect(redis).await?;
    loop {
        let mut behind = 0;
        for (key, count) in &committed {
            behind += (count - tail(&mut conn, *key).await?).max(0);
        }
        if behind == 0 {
            return Ok(started.elapsed());
        }
        if started.elapsed() > CAUGHT_UP {
            bail!("the streams lack {behind} entries after {CAUGHT_UP:?}{}", cluster.last_words());
        }
        sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_repeated_or_foreign_is_counted() {
        let log: Vec<Line> = (1..=5).map(|position| Line { position, event: Uuid::new_v4() }).collect();
        let all: Vec<_> = log.iter().map(|line| (line.position, Some(line.event))).collect();
        let counts = |entries: &[(i64, Option<Uuid>)]| {
            let mut found = Streams::default();
            found.compare(&log, entries);
            (found.lost, found.duplicates, found.diverged)
        };
        assert_eq!(counts(&all), (0, 0, 0));
        assert_eq!(counts(&all[2..]), (0, 0, 0), "trimmed in front");
        assert_eq!(counts(&[all[0], all[1], all[3], all[4]]), (1, 0, 0), "a hole");
        assert_eq!(counts(&[all[0], all[1], (3, all[1].1), all[3], all[4]]), (0, 1, 1), "one twice");
        let more = [all, vec![(6, Some(Uuid::new_v4()))]].concat();
        assert_eq!(counts(&more), (0, 0, 1), "one the tables never gave");
    }
}
