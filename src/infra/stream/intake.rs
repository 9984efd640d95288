//! The intake: orders that programs outside append to a stream themselves, for any session of any shard.
//!
//! Promises: an order is handed to one process at a time until it is done or refused; what a process was given and never
//! answered comes back to it, or goes to another after a while. So an order may come twice: its command's id tells.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::error::{Error, Result};

/// One order as an outsider wrote it: nothing about it is checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Order {
    /// Its id in the stream.
    pub place: String,
    /// Names and values.
    pub fields: Vec<(String, Vec<u8>)>,
}

impl Order {
    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// What it weighs in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// Where it is and its size: what it says names people, and must not get into a log by accident.
impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order {} of {} bytes", self.place, self.weight())
    }
}

/// Where orders come from.
#[async_trait]
pub trait Intake: Send + Sync + 'static {
    /// What this process was given and has not answered, in order, after a place.
    async fn mine(&self, after: Option<&str>, count: usize) -> Result<Vec<Order>>;
    /// What other processes were given and have not answered for `idle`; it is this process's now.
    async fn abandoned(&self, idle: Duration, count: usize) -> Result<Vec<Order>>;
    /// What nobody was given; waits up to `wait` for the first.
    async fn fresh(&self, count: usize, wait: Duration) -> Result<Vec<Order>>;
    /// These are done: they are in the tables.
    async fn done(&self, places: &[String]) -> Result<()>;
    /// This one never can be: it is shown with its reason, and done.
    async fn refuse(&self, order: &Order, reason: &Error) -> Result<()>;
}
