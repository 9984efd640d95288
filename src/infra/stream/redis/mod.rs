//! Redis Streams behind the [`Stream`] port: Redis 7 or newer, alone or behind one address.
//!
//! Promises what the port promises, and:
//! * Opening needs no server: it is reached at the first call, again after each loss, and meanwhile every call is
//!   answered `Unavailable`, within its deadline. A server that hangs holds up nothing but the call.
//! * A position is the id `<position>-0`: Redis itself refuses a second entry at the same place.
//! * All that decides and changes is one script on the keys of one stream.
//! * Whatever Redis loses (its last second, a failover's difference, everything) it says so by its tail and by
//!   `NotFound` for its groups; relay and consumers fill it again from the tables.

mod connection;
mod dead_letters;
mod entry;
mod failure;
mod hints;
mod intake;
mod readers;
mod scripts;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Client, Cmd, IntoConnectionInfo, ProtocolVersion, ScriptInvocation, Value};

pub(in crate::infra) use self::connection::{Ask, Connection};
use self::entry::id;
use self::failure::odd;
use self::readers::Readers;
use self::scripts::Scripts;
use super::{Appended, Burial, Stream, StreamKey};
use crate::domain::error::{Error, Kind, Result};
use crate::domain::event::{Entry, Log};
use crate::domain::ids::{Epoch, Position};

pub use self::settings::Settings;

/// The most ids of one acknowledgement or claim.
const IDS: usize = 1000;

/// What an entry weighs beside its event, roughly.
const OVERHEAD: usize = 256;

/// The streams of one Redis, and what else nodes use it for.
pub struct RedisStream {
    client: Client,
    settings: Settings,
    scripts: Scripts,
    shared: Arc<Connection>,
    readers: Readers,
}

impl RedisStream {
    /// Takes an address like `redis://:password@host:6379/0` or `rediss://…`; connects to nothing yet.
    ///
    /// # Errors
    /// `Invalid` when the address or a name cannot be used.
    pub fn open(url: &str, settings: Settings) -> Result<Self> {
        settings.check()?;
        let client = client(url).map_err(|_may_quote_the_password| {
            Error::invalid("REDIS_URL", "invalid_redis_url", "is not the address of a Redis")
        })?;
        let shared = Arc::new(Connection::new(client.clone(), settings.deadline));
        let readers = Readers::new(client.clone(), Arc::clone(&shared), settings.deadline, settings.readers);
        Ok(Self { client, settings, scripts: Scripts::new(), shared, readers })
    }

    /// Whether Redis answers.
    ///
    /// # Errors
    /// `Unavailable` when it does not.
    pub async fn probe(&self) -> Result<()> {
        self.command(&redis::cmd("PING")).await.map(drop)
    }

    async fn command(&self, command: &Cmd) -> Result<Value> {
        self.shared.ask(Ask::Command(command)).await
    }

    async fn script(&self, script: &ScriptInvocation<'_>) -> Result<Value> {
        self.shared.ask(Ask::Script(script)).await
    }

    /// How a reader is called: readers of different processes never share a name.
    fn reader(&self, consumer: &str) -> String {
        format!("{}:{consumer}", self.settings.consumer)
    }
}

#[async_trait]
impl Stream for RedisStream {
    async fn tail(&self, key: StreamKey) -> Result<Position> {
        let keys = self.settings.keys(key);
        let mut script = self.scripts.read.key(keys.stream);
        let (tail, _none) = pair(self.script(script.arg(id(Position(i64::MAX))).arg(1)).await?)?;
        entry::position(&tail)
    }

    async fn lead(&self, key: StreamKey, epoch: Epoch) -> Result<Option<Position>> {
        let keys = self.settings.keys(key);
        let mut script = self.scripts.lead.key(keys.stream);
        let tail = self.script(script.key(keys.meta).arg(epoch.0)).await?;
        if tail == Value::Nil {
            return Ok(None);
        }
        entry::position(&tail).map(Some)
    }

    async fn begin(&self, key: StreamKey, at: Position) -> Result<()> {
        let keys = self.settings.keys(key);
        let mut script = self.scripts.begin.key(keys.stream);
        self.script(script.arg(id(at))).await.map(drop)
    }

    async fn append(
        &self,
        key: StreamKey,
        epoch: Epoch,
        expected: Position,
        entries: &[Entry],
    ) -> Result<Appended> {
        let keys = self.settings.keys(key);
        let mut script = self.scripts.append.key(keys.stream);
        let weight: usize = entries.iter().map(|entry| OVERHEAD + entry.event.data.as_str().len()).sum();
        script.key(keys.meta).arg(epoch.0).arg(id(expected));
        script.arg(self.settings.entries).arg(self.settings.bytes).arg(weight);
        for (n, Entry { position, event }) in entries.iter().enumerate() {
            if *position != expected.plus(n + 1) || event.position != *position {
                return Err(Error::bug("entries to append are not gapless"));
            }
            let payload = serde_json::to_vec(&**event).map_err(Error::bug)?;
            script.arg(id(*position)).arg(event.event_id.to_string()).arg(&event.kind).arg(payload);
        }
        appended(self.script(&script).await?)
    }

    async fn create_group(&self, key: StreamKey, group: &str, at: Position) -> Result<()> {
        let keys = self.settings.keys(key);
        let mut command = redis::cmd("XGROUP");
        command.arg("CREATE").arg(keys.stream).arg(self.settings.group(key.log, group)).arg(id(at));
        match self.command(command.arg("MKSTREAM")).await {
            Err(error) if error.kind == Kind::Conflict && error.code == failure::GROUP_EXISTS => Ok(()),
            answer => answer.map(drop),
        }
    }

    async fn remove_group(&self, key: StreamKey, group: &str) -> Result<()> {
        let keys = self.settings.keys(key);
        let mut script = self.scripts.forget.key(keys.stream);
        self.script(script.arg(self.settings.group(key.log, group))).await.map(drop)
    }

    async fn read_group(
        &self,
        key: StreamKey,
        group: &str,
        consumer: &str,
        count: usize,
        wait: Duration,
    ) -> Result<Vec<Entry>> {
        let stream = self.settings.keys(key).stream;
        let (group, reader) = (self.settings.group(key.log, group), self.reader(consumer));
        let ask = |millis: Option<u64>| group_read((&group, &reader, &stream), count, millis, ">");
        entry::entries(entry::of_stream(self.readers.wait(wait, ask).await?)?)
    }

    async fn claim(
        &self,
        key: StreamKey,
        group: &str,
        consumer: &str,
        idle: Duration,
        count: usize,
    ) -> Result<Vec<Entry>> {
        let stream = self.settings.keys(key).stream;
        let (group, reader) = (self.settings.group(key.log, group), self.reader(consumer));
        entry::entries(self.take_over((&group, &reader, &stream), idle, count).await?)
    }

    async fn ack(&self, key: StreamKey, group: &str, positions: &[Position]) -> Result<()> {
        let stream = self.settings.keys(key).stream;
        let group = self.settings.group(key.log, group);
        for some in positions.chunks(IDS) {
            let mut command = redis::cmd("XACK");
            command.arg(&stream).arg(&group);
            for position in some {
                command.arg(id(*position));
            }
            self.command(&command).await?;
        }
        Ok(())
    }

    async fn read_from(
        &self,
        key: StreamKey,
        after: Position,
        count: usize,
        wait: Duration,
    ) -> Result<Option<Vec<Entry>>> {
        let stream = self.settings.keys(key).stream;
        let mut script = self.scripts.read.key(&stream);
        let (tail, found) = pair(self.script(script.arg(id(after)).arg(count)).await?)?;
        let found = entry::entries(found)?;
        let follows = |entries: &[Entry]| entries.first().is_none_or(|first| first.position == after.plus(1));
        if !found.is_empty() || wait.is_zero() || entry::position(&tail)? > after {
            let trimmed = !follows(&found) || (found.is_empty() && entry::position(&tail)? > after);
            return Ok((!trimmed).then_some(found));
        }
        let ask = |millis: Option<u64>| {
            let mut command = redis::cmd("XREAD");
            command.arg("COUNT").arg(count);
            if let Some(millis) = millis {
                command.arg("BLOCK").arg(millis);
            }
            command.arg("STREAMS").arg(&stream).arg(id(after));
            command
        };
        let found = entry::entries(entry::of_stream(self.readers.wait(wait, ask).await?)?)?;
        Ok(follows(&found).then_some(found))
    }

    async fn trim(&self, key: StreamKey, upto: Position) -> Result<usize> {
        let keys = self.settings.keys(key);
        let mut script = self.scripts.trim.key(keys.stream);
        let Value::Int(gone) = self.script(script.arg(upto.0)).await? else { return odd("a count") };
        usize::try_from(gone).map_err(Error::bug)
    }

    async fn copy_dead_letter(&self, log: Log, burial: Burial<'_>) -> Result<bool> {
        dead_letters::copy(self, log, burial).await.map(|()| true)
    }
}

impl RedisStream {
    /// Entries that others of the group have held for `idle`.
    async fn take_over(
        &self,
        (group, reader, stream): (&str, &str, &str),
        idle: Duration,
        count: usize,
    ) -> Result<Value> {
        let mut script = self.scripts.claim.key(stream);
        script.arg(group).arg(reader).arg(millis(idle)).arg(count.min(IDS)).arg(millis(self.settings.forget));
        self.script(&script).await
    }
}

/// The older protocol, whatever the address asks for: it is the one whose answers are read here.
pub(in crate::infra) fn client(url: &str) -> redis::RedisResult<Client> {
    let address = url.into_connection_info()?;
    let settings = address.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
    Client::open(address.set_redis_settings(settings))
}

/// A group's question for entries: new ones (`>`), or those this reader holds above an id.
fn group_read(
    (group, reader, stream): (&str, &str, &str),
    count: usize,
    millis: Option<u64>,
    after: &str,
) -> Cmd {
    let mut command = redis::cmd("XREADGROUP");
    command.arg("GROUP").arg(group).arg(reader).arg("COUNT").arg(count);
    if let Some(millis) = millis {
        command.arg("BLOCK").arg(millis);
    }
    command.arg("STREAMS").arg(stream).arg(after);
    command
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn pair(answer: Value) -> Result<(Value, Value)> {
    let Value::Array(parts) = answer else { return odd("a pair") };
    let mut parts = parts.into_iter();
    match (parts.next(), parts.next()) {
        (Some(one), Some(two)) => Ok((one, two)),
        _other => odd("a pair"),
    }
}

fn appended(answer: Value) -> Result<Appended> {
    let Value::Array(parts) = answer else { return odd("an append") };
    let mut parts = parts.into_iter();
    let Some(Value::BulkString(word)) = parts.next() else { return odd("an append") };
    match (&*word, parts.next()) {
        (b"all", _) => Ok(Appended::All),
        (b"full", _) => Ok(Appended::Full),
        (b"superseded", _) => Ok(Appended::Superseded),
        (b"tail", Some(tail)) => entry::position(&tail).map(Appended::Tail),
        _other => odd("an append"),
    }
}
