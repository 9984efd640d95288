//! Connections for readers that wait for an entry: a wait blocks whatever follows it on its connection.
//!
//! Promises: as many as allowed and no more; one that was left in the middle of a wait is closed, never used again; a
//! reader that finds none free asks now and then on the shared connection instead, so that it is late and not stuck.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, Value};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::connection::{Ask, Connection, connect};
use super::failure::{late, told};
use crate::domain::error::Result;

/// How often a reader without a connection of its own asks.
const ASK: Duration = Duration::from_millis(100);

pub(super) struct Readers {
    client: Client,
    deadline: Duration,
    permits: Semaphore,
    idle: Mutex<Vec<MultiplexedConnection>>,
    shared: Arc<Connection>,
}

impl Readers {
    pub(super) fn new(client: Client, shared: Arc<Connection>, deadline: Duration, most: usize) -> Self {
        let permits = Semaphore::new(most.min(Semaphore::MAX_PERMITS));
        Self { client, deadline, permits, idle: Mutex::default(), shared }
    }

    /// Asks for entries, and waits up to `wait` for the first. `command` makes the question, with or without the
    /// milliseconds to wait. `Nil` when nothing came.
    pub(super) async fn wait(&self, wait: Duration, command: impl Fn(Option<u64>) -> Cmd) -> Result<Value> {
        let until = Instant::now() + wait;
        let at_once = command(None);
        // Zero milliseconds would be for ever. One more than asked for, because Redis rounds down.
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        if !wait.is_zero()
            && let Ok(_permit) = self.permits.try_acquire()
        {
            return self.block(&command(Some(millis)), wait).await;
        }
        loop {
            let value = self.shared.ask(Ask::Command(&at_once)).await?;
            if value != Value::Nil || Instant::now() >= until {
                return Ok(value);
            }
            sleep_until(until.min(Instant::now() + ASK)).await;
        }
    }

    async fn block(&self, command: &Cmd, wait: Duration) -> Result<Value> {
        let known = self.idle().pop();
        let kept = known.is_some();
        let mut connection = match known {
            Some(connection) => connection,
            None => timeout(self.deadline, connect(&self.client)).await.map_err(late)??,
        };
        let until = Instant::now() + wait + self.deadline;
        let mut answer = timeout_at(until, command.query_async(&mut connection)).await.map_err(late)?;
        if kept && answer.as_ref().is_err_and(redis::RedisError::is_connection_dropped) {
            // It was lost while nobody used it: that says nothing of the server now.
            connection = timeout(self.deadline, connect(&self.client)).await.map_err(late)??;
            answer = timeout_at(until, command.query_async(&mut connection)).await.map_err(late)?;
        }
        let value: Value = answer.map_err(|error| {
            // Refused and still there, or lost: telling them apart is not worth a connection.
            told(&error)
        })?;
        self.idle().push(connection);
        Ok(value)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<MultiplexedConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
