//! When to try again.
//!
//! Promises: a delay never leaves `floor(attempt)..=ceiling(attempt)`; the ceilings of an exponential schedule
//! never fall and never pass its `max`; every attempt number, up to `u32::MAX`, has a delay, and none is longer
//! than [`LONGEST`], so that adding it to a clock never overflows.
//!
//! The random draw comes from the `backoff` crate, which this file alone names. That crate spreads
//! `interval * (1 ± factor)`; an interval in the middle of the wanted range and the matching factor give any range,
//! and half a ceiling with factor 1 gives full jitter.

use std::sync::Arc;
use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

/// No delay is longer than this, whatever was configured.
pub const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The delays between the attempts at one thing, as a function of the attempt (the first is 0).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    ceilings: Ceilings,
    jitter: Jitter,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ceilings {
    Doubling { initial: Duration, max: Duration },
    Steps(Arc<[Duration]>),
}

/// How far below its ceiling a delay may fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// Down to nothing: a crowd that failed together spreads over the whole interval.
    Full,
    /// Down to half of the ceiling: spread, yet near what was configured.
    Half,
}

impl Schedule {
    /// Ceilings that double from `initial` up to `max`, with full jitter.
    #[must_use]
    pub fn exponential(initial: Duration, max: Duration) -> Self {
        let max = max.min(LONGEST);
        Self { ceilings: Ceilings::Doubling { initial: initial.min(max), max }, jitter: Jitter::Full }
    }

    /// Fixed ceilings, one per attempt, with half jitter. The last one repeats; no steps at all means no delay.
    #[must_use]
    pub fn steps(steps: impl IntoIterator<Item = Duration>) -> Self {
        let steps = steps.into_iter().map(|step| step.min(LONGEST)).collect();
        Self { ceilings: Ceilings::Steps(steps), jitter: Jitter::Half }
    }

    /// The same ceilings with another jitter.
    #[must_use]
    pub const fn with_jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// The longest delay that `attempt` may get.
    #[must_use]
    pub fn ceiling(&self, attempt: u32) -> Duration {
        match &self.ceilings {
            Ceilings::Doubling { initial, max } => doubled(*initial, attempt).min(*max),
            Ceilings::Steps(steps) => {
                let index = usize::try_from(attempt).unwrap_or(usize::MAX);
                steps.get(index).or_else(|| steps.last()).copied().unwrap_or_default()
            }
        }
    }

    /// The shortest delay that `attempt` may get.
    #[must_use]
    pub fn floor(&self, attempt: u32) -> Duration {
        match self.jitter {
            Jitter::Full => Duration::ZERO,
            Jitter::Half => self.ceiling(attempt) / 2,
        }
    }

    /// A delay for `attempt`, drawn anew at each call.
    #[must_use]
    pub fn delay(&self, attempt: u32) -> Duration {
        draw(self.floor(attempt), self.ceiling(attempt))
    }
}

/// `initial * 2^attempt`, or [`LONGEST`] when that is less.
fn doubled(initial: Duration, attempt: u32) -> Duration {
    // `initial` has at most 52 bits (LONGEST in nanoseconds), so a shift by 64 still fits.
    let nanos = (initial.as_nanos() << attempt.min(64)).min(LONGEST.as_nanos());
    u64::try_from(nanos).map_or(LONGEST, Duration::from_nanos)
}

fn draw(floor: Duration, ceiling: Duration) -> Duration {
    if ceiling.is_zero() {
        return ceiling;
    }
    let mut spread = ExponentialBackoff {
        current_interval: (floor + ceiling) / 2,
        randomization_factor: (ceiling - floor).as_secs_f64() / (ceiling + floor).as_secs_f64(),
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    };
    // The crate computes in floating point and may pass either end by a nanosecond.
    spread.next_backoff().unwrap_or(ceiling).clamp(floor, ceiling)
}

/// A schedule that ends: how often something is tried at all, and how long to wait in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Attempts in all, the first included.
    pub tries: u32,
    /// The waits between them.
    pub schedule: Schedule,
}

impl Retries {
    /// The wait after `failed` attempts, or nothing when the last one is spent.
    #[must_use]
    pub fn after(&self, failed: u32) -> Option<Duration> {
        (failed < self.tries).then(|| self.schedule.delay(failed.saturating_sub(1)))
    }
}

impl Default for Retries {
    /// What a delivery gets unless configured: 5 tries, doubling from 1 s up to 30 s.
    fn default() -> Self {
        Self { tries: 5, schedule: Schedule::exponential(Duration::from_secs(1), Duration::from_secs(30)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn any_duration() -> impl Strategy<Value = Duration> {
        prop_oneof![
            (0..5_000_000_000_u64).prop_map(Duration::from_nanos),
            any::<u64>().prop_map(Duration::from_nanos),
            any::<u64>().prop_map(Duration::from_secs),
        ]
    }

    fn any_attempt() -> impl Strategy<Value = u32> {
        prop_oneof![0..80_u32, any::<u32>(), Just(u32::MAX)]
    }

    proptest! {
        #[test]
        fn ceilings_never_fall_and_never_pass_the_cap(
            initial in any_duration(), max in any_duration(), attempt in any_attempt()
        ) {
            let schedule = Schedule::exponential(initial, max);
            let ceiling = schedule.ceiling(attempt);
            prop_assert!(ceiling <= schedule.ceiling(attempt.saturating_add(1)));
            prop_assert!(ceiling <= max.min(LONGEST));
            prop_assert!(initial.is_zero() || schedule.ceiling(u32::MAX) == max.min(LONGEST));
        }

        #[test]
        fn a_delay_stays_within_its_bounds(
            initial in any_duration(), max in any_duration(), attempt in any_attempt(), half in any::<bool>()
        ) {
            let jitter = if half { Jitter::Half } else { Jitter::Full };
            let schedule = Schedule::exponential(initial, max).with_jitter(jitter);
            let delay = schedule.delay(attempt);
            prop_assert!(schedule.floor(attempt) <= delay && delay <= schedule.ceiling(attempt));
        }

        #[test]
        fn a_step_stays_within_its_bounds(steps in prop::collection::vec(any_duration(), 0..6), attempt in any_attempt()) {
            let schedule = Schedule::steps(steps.clone());
            let delay = schedule.delay(attempt);
            let index = usize::try_from(attempt).unwrap().min(steps.len().saturating_sub(1));
            let step = steps.get(index).copied().unwrap_or_default().min(LONGEST);
            prop_assert!(step / 2 <= delay && delay <= step);
        }
    }

    #[test]
    fn full_jitter_reaches_both_ends_of_the_interval() {
        let schedule = Schedule::exponential(SECOND, SECOND);
        let draws: Vec<Duration> = (0..2_000).map(|_| schedule.delay(0)).collect();
        let below = |limit| draws.iter().filter(|delay| **delay < limit).count();
        // Uniform: a tenth below 100 ms, nine tenths below 900 ms; the bounds are over nine deviations away.
        assert!((80..=320).contains(&below(SECOND / 10)), "{} below a tenth", below(SECOND / 10));
        assert!((1_680..=1_920).contains(&below(SECOND * 9 / 10)), "{} below 90 %", below(SECOND * 9 / 10));
    }

    #[test]
    fn ceilings_double() {
        let schedule = Schedule::exponential(SECOND, 30 * SECOND);
        let seconds: Vec<u64> = (0..7).map(|attempt| schedule.ceiling(attempt).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn a_delivery_is_tried_five_times_by_default() {
        let retries = Retries::default();
        let waits: Vec<bool> = (1..=6).map(|failed| retries.after(failed).is_some()).collect();
        assert_eq!(waits, [true, true, true, true, false, false]);
        assert!(retries.after(1).unwrap() <= SECOND);
    }
}
