//! How running children are ended.
//!
//! Promises: one deadline for all; nothing is killed before it; a child that ignores its stop takes nothing from its
//! siblings but, when they stop one after the other, half of the time that is left.

use std::time::Duration;

use ractor::{ActorCell, ActorRef};
use tokio::time::Instant;

use super::Msg;
use super::child::Started;
use super::policy::StopOrder;

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
    let mut late = Vec::new();
    for child in leaving {
        if !ended(&child.started.cell, deadline).await {
            late.push(child);
        }
    }
    for child in &late {
        tracing::warn!(child = child.key, "killed: did not stop before the deadline");
        child.started.cell.kill();
    }
    let grace = Instant::now() + KILL_GRACE;
    for child in late {
        if !ended(&child.started.cell, grace).await {
            tracing::error!(child = child.key, "does not even yield to a kill");
        }
    }
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
