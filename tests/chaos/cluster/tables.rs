//! The logs as the tables have them: what every stream must hold.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use sqlx::{Connection, Row};
use uuid::Uuid;

use super::Cluster;
use super::audit::connect;
use crate::rig::figures::say;

/// A shard and a log: 0 events, 1 commands.
pub(crate) type Key = (i32, i32);

/// One row of a log.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) position: i64,
    pub(crate) event: Uuid,
}

/// All logs, and what is wrong with them.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) logs: BTreeMap<Key, Vec<Line>>,
    /// The last position given, by the relays' rows.
    pub(crate) heads: BTreeMap<Key, i64>,
    pub(crate) rows: usize,
    /// Rows still without a position.
    pub(crate) waiting: i64,
    pub(crate) gaps: usize,
    pub(crate) disorder: usize,
    /// Events that stand in a log more than once.
    pub(crate) duplicates: usize,
    /// Commands that have not ended.
    pub(crate) unfinished: i64,
}

/// Reads all of it.
pub(crate) async fn read(cluster: &Cluster) -> Result<Tables> {
    let mut conn = connect(&cluster.tables).await?;
    let (mut found, mut seqs, mut seen) = (Tables::default(), HashMap::new(), HashMap::<Uuid, usize>::new());
    let rows = "select shard, log, position, event_id, session_id, seq, type, occurred_at, stored_at from events \
        order by shard, log, position";
    for row in sqlx::query(rows).fetch_all(&mut conn).await? {
        let key: Key = (row.get(0), row.get(1));
        let line = Line { position: row.get(2), event: row.get(3) };
        let log = found.logs.entry(key).or_default();
        let last = log.last().map_or(0, |line| line.position);
        found.gaps += usize::from(line.position != last + 1);
        let seq: i64 = row.get(5);
        let before = seqs.insert((key.1, row.get::<Uuid, _>(4)), seq).unwrap_or(0);
        if seq != before + 1 {
            found.disorder += 1;
            let (kind, at, stored): (&str, i64, i64) = (row.get(6), row.get(7), row.get(8));
            let (shard, log) = key;
            say(&format!(
                "  shard {shard}, log {log}, position {}: seq {seq} of {} after {before}: {kind}, at {at}, stored {stored}",
                line.position,
                row.get::<Uuid, _>(4)
            ));
        }
        *seen.entry(line.event).or_default() += 1;
        log.push(line);
        found.rows += 1;
    }
    found.duplicates = seen.values().map(|times| times - 1).sum();
    for row in sqlx::query("select shard, log, head from relays").fetch_all(&mut conn).await? {
        found.heads.insert((row.get(0), row.get(1)), row.get(2));
    }
    // A head above the last row, or a row above the head, is a gap too.
    for (key, head) in &found.heads {
        let last = found.logs.get(key).and_then(|log| log.last()).map_or(0, |line| line.position);
        found.gaps += usize::from(last != *head);
    }
    found.waiting = sqlx::query("select count(*) from outbox").fetch_one(&mut conn).await?.get(0);
    let unfinished = "select count(*) from commands where state in ('queued', 'taken')";
    found.unfinished = sqlx::query(unfinished).fetch_one(&mut conn).await?.get(0);
    conn.close().await?;
    Ok(found)
}

/// How many rows are committed, per log: numbered or not. What the streams have to reach.
pub(crate) async fn committed(cluster: &Cluster) -> Result<BTreeMap<Key, i64>> {
    let mut conn = connect(&cluster.tables).await?;
    // One statement, one snapshot.
    let sql = "select r.shard, r.log, r.head +
        (select count(*) from outbox o where o.shard = r.shard and o.log = r.log) from relays r";
    let rows = sqlx::query(sql).fetch_all(&mut conn).await?;
    conn.close().await?;
    Ok(rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect())
}
