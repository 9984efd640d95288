//! Where requests are counted against their limits.
//!
//! What every adapter promises (the contract suite `tests/suite/limits/mod.rs` proves it on each):
//! * One call judges one request against all of its limits and counts it, as one step that nobody can come between.
//! * It judges as [`judge`](crate::domain::limit::judge) says: a window admits as many as its limit and not one more,
//!   and a refused request counts nowhere.
//! * What has ended is forgotten by itself; a call ends within a deadline.

pub mod memory;
pub mod redis;

use async_trait::async_trait;

use crate::domain::error::Result;
use crate::domain::limit::{Charge, Verdict};

/// The most limits that one request is held against.
pub const CHARGES: usize = 8;

/// The counters.
#[async_trait]
pub trait Limits: Send + Sync + 'static {
    /// Judges a request, and counts it if it is admitted. At most [`CHARGES`] limits, each of another subject.
    async fn check(&self, charges: &[Charge]) -> Result<Verdict>;
}
