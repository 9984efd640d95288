//! How running children are ended.
//!
//! Promises: one deadline for all; nothing is killed before it; a child that ignores its stop takes nothing from its
//! siblings but, when they stop one after the other, half of the time that is left.

use std::time::Duration;

use ractor::{ActorCell, ActorRef};
use tokio::time::Instant;

use super::child::Started;
use super::policy::StopOrder;
use super::{Msg, from_now};

/// How long a kill may take: an actor that never comes to an await cannot be killed at all.
pub(super) const KILL_GRACE: Duration = Duration::from_secs(1);

/// A running child that has to go.
pub(super) struct Leaving {
    pub(super) key: String,
    pub(super) started: Started,
}

/// Asks a child to stop. A supervisor learns how long it has, a little less than we have: then it is the one that
/// kills below itself, and it ends in order.
pub(super) fn ask(started: &Started, deadline: Instant) {
    let now = Instant::now();
    let theirs = now + deadline.saturating_duration_since(now) * 9 / 10;
    let told = |supervisor: &ActorRef<Msg>| supervisor.cast(Msg::Shutdown(theirs)).is_ok();
    if !started.supervisor.as_ref().is_some_and(told) {
        started.cell.stop(None);
    }
}

/// Ends all of `leaving`, given in start order.
pub(super) async fn finish(leaving: &[Leaving], order: StopOrder, deadline: Instant) {
    match order {
        StopOrder::Together => leaving.iter().for_each(|child| ask(&child.started, deadline)),
        StopOrder::Reverse => one_by_one(leaving, deadline).await,
    }
    let late = still_there(leaving.iter().collect(), deadline).await;
    late.iter().for_each(|child| kill(&child.key, &child.started.cell));
    let stuck = still_there(late, from_now(KILL_GRACE)).await;
    stuck.iter().for_each(|child| report_stuck(&child.key));
}

/// Those of `children` that have not ended by then.
async fn still_there(children: Vec<&Leaving>, by: Instant) -> Vec<&Leaving> {
    let mut late = Vec::new();
    for child in children {
        if !ended(&child.started.cell, by).await {
            late.push(child);
        }
    }
    late
}

pub(super) fn kill(key: &str, cell: &ActorCell) {
    tracing::warn!(child = key, "killed: did not stop before the deadline");
    cell.kill();
}

pub(super) fn report_stuck(key: &str) {
    tracing::error!(child = key, "does not even yield to a kill");
}

async fn one_by_one(leaving: &[Leaving], deadline: Instant) {
    for child in leaving.iter().rev() {
        ask(&child.started, deadline);
        let now = Instant::now();
        ended(&child.started.cell, now + deadline.saturating_duration_since(now) / 2).await;
    }
}

/// Whether the actor has ended by then.
async fn ended(cell: &ActorCell, by: Instant) -> bool {
    cell.wait(Some(by.saturating_duration_since(Instant::now()))).await.is_ok()
}
