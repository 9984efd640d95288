//! An in-process stream behind the [`Stream`](super::Stream) port, for one node.
//!
//! Promises what the port promises, and: a log never holds more than its [`Limits`] (but always at least one batch);
//! a wait ends at its deadline or at the first entry, whichever is first, and misses none. It is empty at each start;
//! the relay refills it from the tables by the same code that heals a stream that lost its data.

mod log;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Appended, Stream, StreamKey};
use crate::domain::error::Result;
use crate::domain::event::Entry;
use crate::domain::ids::{Epoch, Position};
use log::Log;

/// How much one log may hold before its groups have to catch up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries.
    pub entries: usize,
    /// Bytes of event data, roughly.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 100_000, bytes: 64 * 1024 * 1024 }
    }
}

/// The streams of this process.
pub struct MemoryStream {
    limits: Limits,
    logs: Mutex<HashMap<StreamKey, Arc<Shared>>>,
}

struct Shared {
    log: Mutex<Log>,
    /// Moved at each append; whoever waits subscribes before it looks, so that no append falls in between.
    grown: watch::Sender<Position>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Log> {
        // Every change of a log is complete or was refused: a panic elsewhere leaves nothing half done.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryStream {
    /// Empty streams.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, logs: Mutex::default() }
    }

    fn shared(&self, key: StreamKey) -> Arc<Shared> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh =
            || Arc::new(Shared { log: Mutex::new(Log::new(self.limits)), grown: watch::Sender::default() });
        Arc::clone(logs.entry(key).or_insert_with(fresh))
    }

    fn with<T>(&self, key: StreamKey, work: impl FnOnce(&mut Log) -> T) -> T {
        let shared = self.shared(key);
        let mut log = shared.lock();
        work(&mut log)
    }

    /// Repeats `look` after each append until it finds something or the time is over.
    async fn wait<T>(
        &self,
        key: StreamKey,
        wait: Duration,
        mut look: impl FnMut(&mut Log) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let shared = self.shared(key);
        let deadline = Instant::now() + wait;
        let mut grown = shared.grown.subscribe();
        loop {
            let found = look(&mut shared.lock())?;
            if found.is_some() {
                return Ok(found);
            }
            match tokio::time::timeout_at(deadline, grown.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_no_sender)) => return Ok(None),
                Err(_elapsed) => return Ok(None),
            }
        }
    }
}

#[async_trait]
impl Stream for MemoryStream {
    async fn tail(&self, key: StreamKey) -> Result<Position> {
        Ok(self.with(key, |log| log.tail()))
    }

    async fn lead(&self, key: StreamKey, epoch: Epoch) -> Result<Option<Position>> {
        Ok(self.with(key, |log| log.lead(epoch)))
    }

    async fn begin(&self, key: StreamKey, at: Position) -> Result<()> {
        self.with(key, |log| log.begin(at));
        Ok(())
    }

    async fn append(
        &self,
        key: StreamKey,
        epoch: Epoch,
        expected: Position,
        entries: &[Entry],
    ) -> Result<Appended> {
        let shared = self.shared(key);
        let (appended, tail) = {
            let mut log = shared.lock();
            (log.append(epoch, expected, entries)?, log.tail())
        };
        if appended == Appended::All {
            shared.grown.send_replace(tail);
        }
        Ok(appended)
    }

    async fn create_group(&self, key: StreamKey, group: &str, at: Position) -> Result<()> {
        self.with(key, |log| log.create_group(group, at));
        Ok(())
    }

    async fn remove_group(&self, key: StreamKey, group: &str) -> Result<()> {
        self.with(key, |log| log.remove_group(group));
        Ok(())
    }

    async fn read_group(
        &self,
        key: StreamKey,
        group: &str,
        consumer: &str,
        count: usize,
        wait: Duration,
    ) -> Result<Vec<Entry>> {
        let found = self.wait(key, wait, |log| {
            let entries = log.read_group(group, consumer, count)?;
            Ok((!entries.is_empty()).then_some(entries))
        });
        Ok(found.await?.unwrap_or_default())
    }

    async fn claim(
        &self,
        key: StreamKey,
        group: &str,
        consumer: &str,
        idle: Duration,
        count: usize,
    ) -> Result<Vec<Entry>> {
        self.with(key, |log| log.claim(group, consumer, idle, count))
    }

    async fn ack(&self, key: StreamKey, group: &str, positions: &[Position]) -> Result<()> {
        self.with(key, |log| log.ack(group, positions))
    }

    async fn read_from(
        &self,
        key: StreamKey,
        after: Position,
        count: usize,
        wait: Duration,
    ) -> Result<Option<Vec<Entry>>> {
        let found = self.wait(key, wait, |log| {
            let Some(entries) = log.read_from(after, count) else { return Ok(Some(None)) };
            Ok((!entries.is_empty()).then_some(Some(entries)))
        });
        Ok(found.await?.unwrap_or_else(|| Some(Vec::new())))
    }

    async fn trim(&self, key: StreamKey, upto: Position) -> Result<usize> {
        Ok(self.with(key, |log| log.trim(upto)))
    }
}
