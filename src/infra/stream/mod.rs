//! The streams: a log per shard that consumers share. Derived from `events`: whatever a stream loses is replayed.
//!
//! What every adapter promises (the contract suite `tests/suite/stream.rs` proves it on each):
//! * [`Stream::append`] adds entries only if the stream's last position is the expected one, all or none.
//! * A group hands each entry to one consumer until it is acknowledged; unacknowledged entries can be claimed.
//! * [`Stream::trim`] never removes what a group has not acknowledged.
//! * Every wait has a deadline, every stream a limit.

pub mod memory;

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::error::Result;
use crate::domain::event::{Entry, Log};
use crate::domain::ids::{Position, Shard};

/// Names one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// Which shard.
    pub shard: Shard,
    /// Which log.
    pub log: Log,
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// All entries are in.
    All,
    /// None is: the stream's last position is not the expected one but this.
    Tail(Position),
    /// None is: the stream holds as much as it may until its groups catch up.
    Full,
}

/// The streams.
#[async_trait]
#[allow(clippy::too_many_arguments, reason = "a group read names stream, group, reader, size and wait")]
pub trait Stream: Send + Sync + 'static {
    /// The last position; the starting point of an empty stream.
    async fn tail(&self, key: StreamKey) -> Result<Position>;
    /// Sets where an empty, untouched stream starts, so that a replay need not begin at 1. Later calls change nothing.
    async fn begin(&self, key: StreamKey, at: Position) -> Result<()>;
    /// Adds entries if the last position is `expected`.
    async fn append(&self, key: StreamKey, expected: Position, entries: &[Entry]) -> Result<Appended>;
    /// Makes a group that starts after `at`, or leaves the one that is there.
    async fn create_group(&self, key: StreamKey, group: &str, at: Position) -> Result<()>;
    /// Removes a group, so that it holds nothing back.
    async fn remove_group(&self, key: StreamKey, group: &str) -> Result<()>;
    /// Hands out entries nobody of the group has; waits up to `wait` for the first.
    async fn read_group(
        &self,
        key: StreamKey,
        group: &str,
        consumer: &str,
        count: usize,
        wait: Duration,
    ) -> Result<Vec<Entry>>;
    /// Hands over entries that another consumer has held unacknowledged for `idle`.
    async fn claim(
        &self,
        key: StreamKey,
        group: &str,
        consumer: &str,
        idle: Duration,
        count: usize,
    ) -> Result<Vec<Entry>>;
    /// Acknowledges entries.
    async fn ack(&self, key: StreamKey, group: &str, positions: &[Position]) -> Result<()>;
    /// Entries above `after` without a group; waits up to `wait` for the first. `None`: some of them are trimmed
    /// already, read the table instead.
    async fn read_from(
        &self,
        key: StreamKey,
        after: Position,
        count: usize,
        wait: Duration,
    ) -> Result<Option<Vec<Entry>>>;
    /// Removes entries up to `upto`, but none that a group has yet to acknowledge. Returns how many went.
    async fn trim(&self, key: StreamKey, upto: Position) -> Result<usize>;
}
