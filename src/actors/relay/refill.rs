//! Where a stream that is empty begins, so that a start replays what some group still needs, and no more.

use crate::domain::error::{Kind, Result};
use crate::domain::event::Log;
use crate::domain::ids::{Position, Shard};
use crate::infra::store::Store;
use crate::infra::stream::{Stream, StreamKey};

/// The highest position below which no group of a log needs anything: the lowest cursor of `groups`, or the head of
/// the log when it has none, but never below what the table still holds.
///
/// # Errors
/// When the store cannot be read.
pub async fn refill_floor(store: &dyn Store, shard: Shard, log: Log, groups: &[&str]) -> Result<Position> {
    let head = store.head(shard, log).await?;
    let mut floor = head.head;
    for group in groups {
        floor = floor.min(store.group(shard, log, group).await?.cursor);
    }
    Ok(floor.max(head.floor))
}

/// Makes a shard's streams ready for its relay and consumers: each log begins where its slowest group stands, and each
/// group exists at its own cursor. Changes nothing that is there already.
///
/// A stream that does not answer holds up no shard: its relay and consumers make it ready themselves when it comes, from the oldest row there is.
///
/// # Errors
/// When the store does not answer, or the stream cannot be used.
pub async fn prepare(
    store: &dyn Store,
    stream: &dyn Stream,
    shard: Shard,
    groups: &[(Log, &str)],
) -> Result<()> {
    match make_ready(store, stream, shard, groups).await {
        Err(error) if error.kind == Kind::Unavailable => {
            // Told apart from the store: a shard without its tables must not start.
            store.probe().await?;
            tracing::warn!(%shard, %error, "a shard starts before its streams are there");
            Ok(())
        }
        made => made,
    }
}

async fn make_ready(
    store: &dyn Store,
    stream: &dyn Stream,
    shard: Shard,
    groups: &[(Log, &str)],
) -> Result<()> {
    for log in Log::ALL {
        let key = StreamKey { shard, log };
        let here: Vec<&str> = groups.iter().filter(|(of, _)| *of == log).map(|(_, group)| *group).collect();
        stream.begin(key, refill_floor(store, shard, log, &here).await?).await?;
        for group in here {
            let cursor = store.group(shard, log, group).await?.cursor;
            stream.create_group(key, group, cursor).await?;
        }
    }
    Ok(())
}
