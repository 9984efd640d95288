//! The streams: a log per shard that consumers share. Derived from `events`: whatever a stream loses is replayed.
//!
//! What every adapter promises (the contract suite `tests/suite/stream.rs` proves it on each):
//! * [`Stream::append`] adds entries only if the stream's last position is the expected one, all or none.
//! * Once an owner has led a stream, owners of earlier epochs add nothing to it.
//! * A group hands each entry to one consumer until it is acknowledged; unacknowledged entries can be claimed.
//! * [`Stream::trim`] never removes what a group has not acknowledged.
//! * Every wait has a deadline, every stream a limit.

pub mod hints;
pub mod intake;
pub mod memory;
pub mod redis;

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::error::Result;
use crate::domain::event::{Entry, Log};
use crate::domain::ids::{Epoch, Position, Shard};
use crate::domain::time::Timestamp;

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
    /// None is: an owner of a later epoch has been here.
    Superseded,
}

/// An entry that a group gave up on.
#[derive(Clone, Copy, Debug)]
pub struct Burial<'a> {
    /// Which group.
    pub group: &'a str,
    /// What.
    pub entry: &'a Entry,
    /// How often it was tried.
    pub attempts: u32,
    /// What went wrong last.
    pub error: &'a str,
    /// When.
    pub at: Timestamp,
}

/// The streams.
#[async_trait]
#[allow(clippy::too_many_arguments, reason = "a group read names stream, group, reader, size and wait")]
pub trait Stream: Send + Sync + 'static {
    /// The last position; the starting point of an empty stream.
    async fn tail(&self, key: StreamKey) -> Result<Position>;
    /// The last position, for the owner of this epoch: from now on appends of earlier epochs are refused. `None`: an
    /// owner of a later epoch has been here. A stream that lost everything has lost this too, until it is led again.
    async fn lead(&self, key: StreamKey, epoch: Epoch) -> Result<Option<Position>>;
    /// Sets where an empty, untouched stream starts, so that a replay need not begin at 1. Later calls change nothing.
    async fn begin(&self, key: StreamKey, at: Position) -> Result<()>;
    /// Adds entries if the last position is `expected` and no owner of a later epoch has been here.
    async fn append(
        &self,
        key: StreamKey,
        epoch: Epoch,
        expected: Position,
        entries: &[Entry],
    ) -> Result<Appended>;
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
    /// Hands over entries that another consumer has held unacknowledged for `idle`; those of this one, too, unless that is
    /// no time at all: it may have acknowledged them to a server that has forgotten it since.
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
    /// Shows programs outside what was given up on; the truth is in the table `dead_letters`. Whether this adapter has
    /// a place for such copies.
    async fn copy_dead_letter(&self, _log: Log, _burial: Burial<'_>) -> Result<bool> {
        Ok(false)
    }
}
