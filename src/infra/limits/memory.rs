//! Counters of this process behind the [`Limits`] port, for one node, and for a node that Redis does not answer.
//!
//! Promises what the port promises, and: never more than a fixed number of subjects per scope. It never fails and never waits.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tokio::time::Instant;

use super::Limits;
use crate::domain::error::Result;
use crate::domain::limit::{Charge, Verdict, Windows};
use crate::telemetry;

/// Subjects of one scope that are remembered: about 100 bytes each.
pub const CAPACITY: usize = 65_536;

/// The counters of this process.
pub struct MemoryLimits {
    started: Instant,
    windows: Mutex<Windows>,
}

impl MemoryLimits {
    /// Nothing counted, with room for this many subjects of each scope.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { started: Instant::now(), windows: Mutex::new(Windows::new(capacity)) }
    }

    /// Judges and counts, at once.
    pub fn judge(&self, charges: &[Charge]) -> Verdict {
        // Every change is complete before anything could panic: what a panic elsewhere leaves is sound.
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = windows.check(charges, self.started.elapsed());
        let forgotten = windows.take_forgotten();
        drop(windows);
        if forgotten > 0 {
            telemetry::limits_forgotten(forgotten);
        }
        verdict
    }
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self::new(CAPACITY)
    }
}

#[async_trait]
impl Limits for MemoryLimits {
    async fn check(&self, charges: &[Charge]) -> Result<Verdict> {
        Ok(self.judge(charges))
    }
}
