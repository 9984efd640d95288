//! A memory stream that loses, refuses and hangs when told to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::Faults;
use crate::domain::error::Result;
use crate::domain::event::Entry;
use crate::domain::ids::{Epoch, Position};
use crate::infra::stream::memory::{Limits, MemoryStream};
use crate::infra::stream::{Appended, Stream, StreamKey};

pub(crate) struct Wobbly {
    faults: Arc<Faults>,
    inner: Mutex<Arc<MemoryStream>>,
    hang: AtomicBool,
    /// Told when an append was done and hangs.
    pub(crate) hanging: Notify,
}

impl Wobbly {
    pub(crate) fn new(faults: Arc<Faults>) -> Self {
        let inner = Mutex::new(Arc::new(MemoryStream::new(Limits::default())));
        Self { faults, inner, hang: AtomicBool::new(false), hanging: Notify::new() }
    }

    pub(crate) fn inner(&self) -> Arc<MemoryStream> {
        Arc::clone(&self.inner.lock().unwrap())
    }

    /// Forgets everything: entries, groups, where it began.
    pub(crate) fn lose_everything(&self) {
        self.replace(MemoryStream::new(Limits::default()));
    }

    pub(crate) fn replace(&self, stream: MemoryStream) {
        *self.inner.lock().unwrap() = Arc::new(stream);
    }

    /// The next append is done and never answered.
    pub(crate) fn hang_after_append(&self) {
        self.hang.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Stream for Wobbly {
    async fn tail(&self, key: StreamKey) -> Result<Position> {
        self.faults.around(self.inner().tail(key)).await
    }

    async fn lead(&self, key: StreamKey, epoch: Epoch) -> Result<Option<Position>> {
        self.faults.around(self.inner().lead(key, epoch)).await
    }

    async fn begin(&self, key: StreamKey, at: Position) -> Result<()> {
        self.faults.around(self.inner().begin(key, at)).await
    }

    async fn append(
        &self,
        key: StreamKey,
        epoch: Epoch,
        expected: Position,
        entries: &[Entry],
    ) -> Result<Appended> {
        let appended = self.faults.around(self.inner().append(key, epoch, expected, entries)).await;
        if self.hang.swap(false, Ordering::SeqCst) {
            self.hanging.notify_one();
            std::future::pending::<()>().await;
        }
        appended
    }

    async fn create_group(&self, key: StreamKey, group: &str, at: Position) -> Result<()> {
        self.faults.around(self.inner().create_group(key, group, at)).await
    }

    async fn remove_group(&self, key: StreamKey, group: &str) -> Result<()> {
        self.faults.around(self.inner().remove_group(key, group)).await
    }

    async fn read_group(
        &self,
        key: StreamKey,
        group: &str,
        consumer: &str,
        count: usize,
        wait: Duration,
    ) -> Result<Vec<Entry>> {
        self.faults.around(self.inner().read_group(key, group, consumer, count, wait)).await
    }

    async fn claim(
        &self,
        key: StreamKey,
        group: &str,
        consumer: &str,
        idle: Duration,
        count: usize,
    ) -> Result<Vec<Entry>> {
        self.faults.around(self.inner().claim(key, group, consumer, idle, count)).await
    }

    async fn ack(&self, key: StreamKey, group: &str, positions: &[Position]) -> Result<()> {
        self.faults.around(self.inner().ack(key, group, positions)).await
    }

    async fn read_from(
        &self,
        key: StreamKey,
        after: Position,
        count: usize,
        wait: Duration,
    ) -> Result<Option<Vec<Entry>>> {
        self.faults.around(self.inner().read_from(key, after, count, wait)).await
    }

    async fn trim(&self, key: StreamKey, upto: Position) -> Result<usize> {
        self.faults.around(self.inner().trim(key, upto)).await
    }
}
