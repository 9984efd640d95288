//! Faults at port calls, decided by a seed.

use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::domain::error::{Error, Result};

/// Small, seeded, good enough to choose (splitmix64).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

pub(crate) struct Faults {
    rng: Mutex<Rng>,
    /// How many calls in a hundred fail.
    percent: Mutex<u64>,
    /// Nothing can be reached.
    cut: AtomicBool,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Mutex::new(Rng::new(seed)), percent: Mutex::new(0), cut: AtomicBool::new(false) }
    }

    pub(crate) fn set(&self, percent: u64) {
        *self.percent.lock().unwrap() = percent;
    }

    /// Whether every call fails until further notice.
    pub(crate) fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }

    /// Runs a port call: it may fail before it does anything, or after it did all, or take its time.
    pub(crate) async fn around<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        if self.cut.load(Ordering::SeqCst) {
            return Err(Error::unavailable("fault_cut", "scripted"));
        }
        let fate = {
            let percent = *self.percent.lock().unwrap();
            let mut rng = self.rng.lock().unwrap();
            if rng.below(100) < percent { rng.below(3) } else { 3 }
        };
        match fate {
            0 => Err(Error::unavailable("fault_before", "scripted")),
            1 => {
                call.await?;
                Err(Error::unavailable("fault_after", "scripted"))
            }
            2 => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                call.await
            }
            _ => call.await,
        }
    }
}
