//! One lease held here, and how far its shard is.

use std::time::Duration;

use ractor::ActorRef;
use tokio::time::Instant;

use crate::actors::supervisor;
use crate::actors::task::ChildTask;
use crate::domain::ids::{Epoch, Fence, Shard};

/// How far a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// On its way up.
    Starting,
    /// Up.
    Running,
    /// On its way down, for another node.
    Draining,
    /// Down; its lease is on its way back.
    Returning,
    /// On its way down; its lease is not ours any more, or may not be.
    Lost,
}

/// A lease held here.
pub(super) struct Held {
    pub(super) epoch: Epoch,
    /// When the last answered request for it was sent.
    pub(super) renewed: Instant,
    /// When it was last asked for.
    pub(super) asked: Instant,
    pub(super) phase: Phase,
    root: Option<ActorRef<supervisor::Msg>>,
    /// What brings the next phase.
    task: ChildTask,
}

impl Held {
    pub(super) fn starting(epoch: Epoch, won: Instant, task: ChildTask) -> Self {
        Self { epoch, renewed: won, asked: won, phase: Phase::Starting, root: None, task }
    }

    pub(super) fn run(&mut self, root: ActorRef<supervisor::Msg>, task: ChildTask) {
        self.root = Some(root);
        self.go(Phase::Running, task);
    }

    pub(super) fn go(&mut self, phase: Phase, task: ChildTask) {
        self.phase = phase;
        self.task = task;
    }

    pub(super) fn is(&self, epoch: Epoch, phase: Phase) -> bool {
        self.epoch == epoch && self.phase == phase
    }

    pub(super) fn fence(&self, shard: Shard) -> Fence {
        Fence { shard, epoch: self.epoch }
    }

    /// The subtree, once it runs.
    pub(super) fn root(&self) -> Option<ActorRef<supervisor::Msg>> {
        self.root.clone()
    }

    /// Whether it counts as this node's share.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Running)
    }

    /// Whether its lease still covers something that runs.
    pub(super) fn is_renewed(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Running | Phase::Draining)
    }

    /// Whether it can no longer be trusted and nothing is done about it yet.
    pub(super) fn is_overdue(&self, trust: Duration) -> bool {
        self.is_renewed() && self.renewed.elapsed() >= trust
    }
}
