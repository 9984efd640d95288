//! The engine's storage over our tables: one value of [`Backend`] is one session with one owner.
//!
//! What it promises:
//! * A method that returned `Ok` is durable, except for rows that may wait (see [`lazy`]).
//! * A read that failed is told to the connection first (see [`super::muzzle`]).
//! * Each method is one write: it happened in full or not at all. Read-modify-write happens under one lock.
//! * Every value is encrypted, bound to its session, family and name.
//! * After [`Backend::seal`] nothing is written any more, whatever of the engine still runs.

mod appsync;
mod device;
mod inbound;
mod lazy;
mod memo;
mod msg_secret;
mod protocol;
mod signal;

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use whatsapp_rust::wacore::store::error::StoreError;
use whatsapp_rust::wacore::store::traits::{DeviceListRecord, TcTokenEntry};

use super::AuthWriter;
use super::muzzle::Doubt;
use crate::domain::error::{Error, Kind};
use crate::domain::session::Endpoint;
use crate::domain::time::now;
use crate::domain::write::{AuthOp, AuthWrite};
use crate::infra::gateway::{Account, Sink};
use crate::infra::store::Store;
use crate::infra::vault::SessionVault;
pub(super) use inbound::Wanted;
use lazy::{Batch, Found, Key, Lazy};
use memo::Memo;

/// Longer than the writer's own deadline: this one only guards against a writer that never answers.
const DEADLINE: Duration = Duration::from_secs(20);
/// The most names asked for in one read.
const READ_CHUNK: usize = 500;

type StoreResult<T> = Result<T, StoreError>;

/// Where the engine keeps one session's state.
pub(super) struct Backend {
    account: Account,
    pin: Option<[u8; 32]>,
    store: Arc<dyn Store>,
    auth: Arc<dyn AuthWriter>,
    /// Where messages go for good.
    sink: Arc<dyn Sink>,
    vault: SessionVault,
    /// Makes read-modify-write atomic. Plain puts do not take it.
    turn: tokio::sync::Mutex<()>,
    lazy: Mutex<Lazy>,
    /// Held while the device is stored.
    device: tokio::sync::Mutex<device::Kept>,
    /// Asked for with every message sent.
    devices: Memo<DeviceListRecord>,
    tc_tokens: Memo<TcTokenEntry>,
    /// Reads that failed.
    doubt: Arc<Doubt>,
    sealed: AtomicBool,
    fenced: AtomicBool,
    newest_sent: AtomicI64,
    inbound: inbound::Inbound,
    secrets_swept: AtomicI64,
}

impl Backend {
    /// The storage of this account's session.
    ///
    /// # Errors
    /// `Invalid` when the endpoint's pinned key is none.
    pub(super) fn new(
        account: Account,
        store: Arc<dyn Store>,
        auth: Arc<dyn AuthWriter>,
        sink: Arc<dyn Sink>,
        vault: SessionVault,
    ) -> Result<Self, Error> {
        let pin = match &account.endpoint {
            Endpoint::Whatsapp {} => None,
            Endpoint::Sandbox { static_key, .. } => Some(super::trust::parse_key(static_key)?),
        };
        let started = seconds();
        Ok(Self {
            account,
            pin,
            store,
            auth,
            sink,
            vault,
            turn: tokio::sync::Mutex::new(()),
            lazy: Mutex::default(),
            device: tokio::sync::Mutex::default(),
            devices: Memo::of("devices"),
            tc_tokens: Memo::of("tc-token"),
            doubt: Arc::default(),
            sealed: AtomicBool::new(false),
            fenced: AtomicBool::new(false),
            newest_sent: AtomicI64::new(started),
            inbound: inbound::Inbound::since(started),
            secrets_swept: AtomicI64::new(0),
        })
    }

    /// Whose it is.
    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// Whether it could always be read.
    pub(super) fn doubt(&self) -> Arc<Doubt> {
        self.doubt.clone()
    }

    /// Lets nothing be written any more.
    pub(super) fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
    }

    /// Whether a write was refused because another owner has the shard.
    pub(super) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    /// Writes what still waits.
    pub(super) async fn settle(&self) -> StoreResult<()> {
        self.write_all(Vec::new()).await
    }

    fn lazy(&self) -> MutexGuard<'_, Lazy> {
        self.lazy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A read. A failed one is known to the connection before the engine makes something of it.
    async fn read<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> StoreResult<T> {
        let answer = within(answer).await;
        if answer.is_err() {
            self.doubt.arise();
        }
        answer
    }

    /// One value.
    async fn get(&self, kind: &'static str, key: &str) -> StoreResult<Option<Vec<u8>>> {
        Ok(self.get_stamped(kind, key).await?.map(|(value, _)| value))
    }

    async fn get_stamped(&self, kind: &'static str, key: &str) -> StoreResult<Option<(Vec<u8>, i64)>> {
        let Some((sealed, stamp)) = self.read(self.store.auth(self.account.session, kind, key)).await? else {
            return Ok(None);
        };
        Ok(Some((self.open(kind, key, &sealed)?, stamp)))
    }

    /// Whether a value is there, without decrypting it.
    async fn has(&self, kind: &'static str, key: &str) -> StoreResult<bool> {
        Ok(self.read(self.store.auth(self.account.session, kind, key)).await?.is_some())
    }

    /// Several values of one family, still encrypted; missing ones are left out.
    async fn sealed_many(
        &self,
        kind: &'static str,
        keys: &[String],
    ) -> StoreResult<Vec<(String, Vec<u8>, i64)>> {
        let mut rows = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(READ_CHUNK) {
            rows.extend(self.read(self.store.auth_many(self.account.session, kind, chunk)).await?);
        }
        Ok(rows)
    }

    async fn many(&self, kind: &'static str, keys: &[String]) -> StoreResult<Vec<(String, Vec<u8>, i64)>> {
        let rows = self.sealed_many(kind, keys).await?;
        self.open_rows(kind, rows)
    }

    /// All values of one family whose names start so.
    async fn family(&self, kind: &'static str, prefix: &str) -> StoreResult<Vec<(String, Vec<u8>, i64)>> {
        let rows = self.sealed_family(kind, prefix).await?;
        self.open_rows(kind, rows)
    }

    async fn sealed_family(
        &self,
        kind: &'static str,
        prefix: &str,
    ) -> StoreResult<Vec<(String, Vec<u8>, i64)>> {
        self.read(self.store.auth_prefix(self.account.session, kind, prefix)).await
    }

    fn open_rows(
        &self,
        kind: &'static str,
        rows: Vec<(String, Vec<u8>, i64)>,
    ) -> StoreResult<Vec<(String, Vec<u8>, i64)>> {
        let open = |(key, sealed, stamp): (String, Vec<u8>, i64)| {
            self.open(kind, &key, &sealed).map(|value| (key, value, stamp))
        };
        rows.into_iter().map(open).collect()
    }

    fn open(&self, kind: &'static str, key: &str, sealed: &[u8]) -> StoreResult<Vec<u8>> {
        self.vault.open(kind, key, sealed).map_err(failed)
    }

    /// The change that stores a value.
    fn put(&self, kind: &'static str, key: String, value: &[u8], stamp: i64) -> StoreResult<AuthOp> {
        let value = self.vault.seal(kind, &key, value).map_err(failed)?;
        Ok(AuthOp::Put { kind, key, value, stamp })
    }

    /// One durable write.
    async fn write(&self, ops: Vec<AuthOp>) -> StoreResult<()> {
        if ops.is_empty() {
            return Ok(());
        }
        if self.sealed.load(Ordering::Acquire) {
            return Err(failed(Error::unavailable("link_closed", "this link is closed and writes nothing")));
        }
        let Account { tenant, session, fence, .. } = self.account;
        let written = within(self.auth.write(AuthWrite { fence, tenant, session, ops })).await;
        if let Err(StoreError::Database(source)) = &written
            && source.downcast_ref::<Error>().is_some_and(|error| error.kind == Kind::Fenced)
        {
            self.fenced.store(true, Ordering::Release);
        }
        written
    }

    /// One durable write, with everything that waits in front: what a ratchet step decrypted is stored with it.
    async fn write_all(&self, ops: Vec<AuthOp>) -> StoreResult<()> {
        let batch = self.lazy().batch();
        let all = self.carried(&batch).map(|mut all| {
            all.extend(ops);
            all
        });
        let written = match all {
            Ok(all) => self.write(all).await,
            Err(error) => Err(error),
        };
        self.lazy().settle(&batch, written.is_ok());
        written
    }

    fn carried(&self, batch: &Batch) -> StoreResult<Vec<AuthOp>> {
        let mut ops = Vec::with_capacity(batch.deletes.len() + batch.puts.len() + 1);
        ops.extend(batch.deletes.iter().map(|(kind, key)| AuthOp::Delete { kind, key: key.clone() }));
        for ((kind, key), value, stamp, _) in &batch.puts {
            ops.push(self.put(kind, key.clone(), value, *stamp)?);
        }
        Ok(ops)
    }

    /// Keeps a row until the next write; writes at once when too much waits.
    async fn put_lazily(&self, rows: impl Iterator<Item = (Key, &[u8])>) -> StoreResult<()> {
        let stamp = seconds();
        let full = {
            let mut lazy = self.lazy();
            for (key, value) in rows {
                lazy.put(key, value, stamp);
            }
            lazy.is_full()
        };
        if full { self.settle().await } else { Ok(()) }
    }

    /// A row that may still wait.
    async fn get_lazily(&self, key: &Key) -> StoreResult<Option<Vec<u8>>> {
        let found = self.lazy().find(key);
        match found {
            Found::Here(value) => Ok(Some(value.to_vec())),
            Found::Gone => Ok(None),
            Found::Unknown => self.get(key.0, &key.1).await,
        }
    }

    /// Removes rows of a family older than `before`; asks the tables only when such rows can be there.
    async fn sweep(&self, kind: &'static str, newest: &AtomicI64, before: i64) -> StoreResult<()> {
        self.lazy().expire(kind, before);
        let last = newest.load(Ordering::Acquire);
        if last == 0 {
            return Ok(());
        }
        self.write(vec![AuthOp::DeleteStamped { kind, before }]).await?;
        if last < before && newest.compare_exchange(last, 0, Ordering::AcqRel, Ordering::Acquire).is_err() {
            tracing::trace!(kind, "a row came in during the sweep");
        }
        Ok(())
    }
}

/// A name made of parts, such that no other parts make the same name.
fn joined(parts: &[&str], last: &str) -> String {
    let mut name = String::with_capacity(parts.iter().map(|part| part.len() + 4).sum::<usize>() + last.len());
    for part in parts {
        name.push_str(&part.len().to_string());
        name.push(':');
        name.push_str(part);
    }
    name.push_str(last);
    name
}

fn seconds() -> i64 {
    now().0 / 1000
}

async fn within<T>(answer: impl Future<Output = Result<T, Error>>) -> StoreResult<T> {
    match tokio::time::timeout(DEADLINE, answer).await {
        Ok(answer) => answer.map_err(failed),
        Err(_late) => Err(failed(Error::unavailable("store_timeout", "the store does not answer"))),
    }
}

fn failed(error: Error) -> StoreError {
    StoreError::Database(Box::new(error))
}

fn encode(value: &impl serde::Serialize) -> StoreResult<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| StoreError::Serialization(Box::new(error)))
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> StoreResult<T> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Serialization(Box::new(error)))
}
