//! One child's place in its supervisor: what it does now, and what it did before.

use std::collections::VecDeque;
use std::time::Duration;

use ractor::RpcReplyPort;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::child::{Child, StartError, Started};
use super::meter::Parked;
use super::policy::Policy;
use super::tree::{Node, Phase};
use crate::actors::task::ChildTask;

pub(super) type StartReply = RpcReplyPort<Result<(), StartError>>;
pub(super) type StopReply = RpcReplyPort<()>;

/// More failures than this are not remembered, and a larger budget is never spent.
const REMEMBERED: usize = 1_024;
/// Reasons are for reading, not for storing whole documents.
const REASON_CHARS: usize = 300;

pub(super) struct Slot {
    pub(super) child: Child,
    /// Start order among the siblings; a restart keeps it.
    pub(super) order: u64,
    /// Changes with every timer, so that a late timer's message is void.
    pub(super) generation: u64,
    pub(super) life: Life,
    since: Instant,
    failures: VecDeque<Instant>,
    pub(super) restarts: u64,
    last_reason: Option<String>,
}

/// `first` is there at a first start: whoever asked for it waits for the outcome.
pub(super) enum Life {
    /// Waits for a free start.
    Queued {
        first: Option<StartReply>,
    },
    /// Its start runs. With `stops`, someone wants it stopped, and its start was called off.
    Starting {
        first: Option<StartReply>,
        stops: Vec<StopReply>,
        /// Dropped to call the start off; the start's message comes either way.
        go_on: Option<oneshot::Sender<()>>,
        task: ChildTask,
    },
    Running {
        started: Started,
    },
    /// Restarts when the timer rings.
    Waiting {
        until: Instant,
        _timer: ChildTask,
    },
    /// Was asked to stop, and is killed when the timer rings; `again` if it is to come back.
    Stopping {
        started: Started,
        killed: bool,
        stops: Vec<StopReply>,
        again: bool,
        _timer: ChildTask,
    },
    Parked {
        _counted: Parked,
    },
}

impl Slot {
    pub(super) fn new(child: Child, order: u64, first: Option<StartReply>) -> Self {
        Self {
            child,
            order,
            generation: 0,
            life: Life::Queued { first },
            since: Instant::now(),
            failures: VecDeque::new(),
            restarts: 0,
            last_reason: None,
        }
    }

    /// Enters another phase.
    pub(super) fn enter(&mut self, life: Life) {
        self.life = life;
        self.since = Instant::now();
    }

    /// The child as a running actor, if it is one.
    pub(super) fn started(&self) -> Option<&Started> {
        match &self.life {
            Life::Running { started } | Life::Stopping { started, .. } => Some(started),
            Life::Queued { .. } | Life::Starting { .. } | Life::Waiting { .. } | Life::Parked { .. } => None,
        }
    }

    pub(super) fn note(&mut self, reason: &str) {
        self.last_reason = Some(reason.chars().take(REASON_CHARS).collect());
    }

    pub(super) fn last_reason(&self) -> &str {
        self.last_reason.as_deref().unwrap_or_default()
    }

    pub(super) fn forgive(&mut self) {
        self.failures.clear();
    }

    /// Counts a failure. Gives the wait before the restart, or nothing when the budget is spent.
    pub(super) fn failed(&mut self, policy: &Policy) -> Option<Duration> {
        let now = Instant::now();
        self.failures.retain(|at| now.duration_since(*at) <= policy.within);
        let attempt = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
        self.failures.push_back(now);
        if self.failures.len() > REMEMBERED {
            self.failures.pop_front();
        }
        (attempt < policy.failures).then(|| policy.schedule.delay(attempt))
    }

    /// What is to be seen from outside.
    pub(super) fn node(&self) -> Node {
        let now = Instant::now();
        let phase = match &self.life {
            Life::Queued { .. } => Phase::Starting,
            Life::Starting { stops, .. } if stops.is_empty() => Phase::Starting,
            Life::Starting { .. } | Life::Stopping { .. } => Phase::Stopping,
            Life::Running { .. } => Phase::Running,
            Life::Waiting { until, .. } => {
                Phase::Waiting { restart_in_ms: millis(until.saturating_duration_since(now)) }
            }
            Life::Parked { .. } => Phase::Parked,
        };
        Node {
            key: self.child.key.clone(),
            kind: self.child.kind,
            phase,
            for_ms: millis(now.duration_since(self.since)),
            restarts: self.restarts,
            last_reason: self.last_reason.clone(),
            children: None,
            no_answer: false,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
