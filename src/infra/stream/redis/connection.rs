//! The connection that all short calls share.
//!
//! Promises: made at the first call and again after it was lost, never before; a call ends at its deadline, and one that
//! ends so gives the connection up, because nothing says that it still works; while the server is away, calls are
//! answered `Unavailable` without each of them trying to connect.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisResult, ScriptInvocation, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::failure::{ends_connection, late, lost, told};
use crate::domain::error::{Error, Result};

/// Calls in this time after a failed connect share its failure.
const CALM: Duration = Duration::from_millis(100);

/// Calls waiting for their answers at once; more wait for their turn, within their deadline.
const CALLS: usize = 256;

/// Something to ask.
pub(in crate::infra) enum Ask<'a> {
    Command(&'a Cmd),
    Script(&'a ScriptInvocation<'a>),
}

impl Ask<'_> {
    async fn on(&self, connection: &mut MultiplexedConnection) -> RedisResult<Value> {
        match self {
            Self::Command(command) => command.query_async(connection).await,
            Self::Script(script) => script.invoke_async(connection).await,
        }
    }
}

pub(in crate::infra) struct Connection {
    client: Client,
    deadline: Duration,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    /// Counts connections, so that a late failure of an old one does not end the new one.
    generation: u64,
    live: Option<MultiplexedConnection>,
    refused: Option<(Instant, Error)>,
}

impl Connection {
    pub(in crate::infra) fn new(client: Client, deadline: Duration) -> Self {
        Self { client, deadline, slot: Mutex::default() }
    }

    /// Asks, and waits for the answer until the deadline.
    pub(in crate::infra) async fn ask(&self, ask: Ask<'_>) -> Result<Value> {
        let deadline = Instant::now() + self.deadline;
        let (generation, mut connection) =
            timeout_at(deadline, self.connected(deadline)).await.map_err(late)??;
        match timeout_at(deadline, ask.on(&mut connection)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if ends_connection(&error) {
                    self.give_up(generation).await;
                }
                Err(told(&error))
            }
            Err(elapsed) => {
                self.give_up(generation).await;
                Err(late(elapsed))
            }
        }
    }

    async fn connected(&self, deadline: Instant) -> Result<(u64, MultiplexedConnection)> {
        let mut slot = self.slot.lock().await;
        if let Some(live) = &slot.live {
            return Ok((slot.generation, live.clone()));
        }
        if let Some((at, error)) = &slot.refused
            && at.elapsed() < CALM
        {
            return Err(error.clone());
        }
        let error = match timeout_at(deadline, connect(&self.client)).await {
            Ok(Ok(live)) => {
                slot.generation += 1;
                slot.live = Some(live.clone());
                slot.refused = None;
                return Ok((slot.generation, live));
            }
            Ok(Err(error)) => error,
            Err(elapsed) => late(elapsed),
        };
        slot.refused = Some((Instant::now(), error.clone()));
        Err(error)
    }

    async fn give_up(&self, generation: u64) {
        let mut slot = self.slot.lock().await;
        if slot.generation == generation {
            slot.live = None;
        }
    }
}

/// A new connection without deadlines of its own: whoever asks has one.
pub(super) async fn connect(client: &Client) -> Result<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_concurrency_limit(CALLS);
    client.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| lost(&error))
}
