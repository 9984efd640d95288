//! How a supervisor treats its children.

use std::time::Duration;

use crate::domain::retry::Schedule;

/// What a child costs its supervisor once its failure budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// Leave this child down and its siblings untouched, until someone asks for its restart.
    Park,
    /// Stop every child in order and fail, so that the supervisor above decides.
    Escalate,
}

/// In which order children are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopOrder {
    /// The last started first, each after the one before has ended.
    Reverse,
    /// All at once.
    Together,
}

/// The rules of one supervisor.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The wait before a restart, by how many failures of this child lie within the window before this one.
    pub schedule: Schedule,
    /// How many failures within `within` are each followed by a restart; one more and the budget is spent.
    /// [`Policy::ENDLESS`] is never spent.
    pub failures: u32,
    /// How long a failure counts. Failures that are further apart than this start over with the first delay, so
    /// keep it well above `failures` times the longest delay.
    pub within: Duration,
    /// What a spent budget means.
    pub exhausted: Exhausted,
    /// The order of stopping.
    pub stop: StopOrder,
    /// One deadline for all children together; what still runs then is killed.
    pub stop_within: Duration,
    /// How long one start may take. For a branch: longer than the starts of all its first children together.
    pub start_within: Duration,
    /// How many starts run at once.
    pub starts: usize,
    /// How many children there can be.
    pub children: usize,
}

impl Policy {
    /// A failure budget that is never spent: the child is restarted for ever, at the schedule's cap.
    pub const ENDLESS: u32 = u32::MAX;

    /// For many independent children: a hopeless one is parked, all stop at once.
    #[must_use]
    pub fn park() -> Self {
        Self {
            schedule: Schedule::exponential(Duration::from_secs(1), Duration::from_secs(60)),
            failures: 10,
            within: Duration::from_secs(30 * 60),
            exhausted: Exhausted::Park,
            stop: StopOrder::Together,
            stop_within: Duration::from_secs(15),
            start_within: Duration::from_secs(30),
            starts: 10,
            children: 100_000,
        }
    }

    /// For a fixed set of parts that need each other: a hopeless one ends them all, last started first.
    #[must_use]
    pub fn escalate() -> Self {
        Self {
            schedule: Schedule::exponential(Duration::from_millis(100), Duration::from_secs(5)),
            failures: 5,
            within: Duration::from_secs(60),
            exhausted: Exhausted::Escalate,
            stop: StopOrder::Reverse,
            stop_within: Duration::from_secs(30),
            start_within: Duration::from_secs(60),
            starts: 10,
            children: 1_000,
        }
    }
}
