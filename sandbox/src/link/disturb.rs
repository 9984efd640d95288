//! Faults of a link that is up: what is written comes late, twice, out of order or in pieces.

use std::time::Duration;

use super::Who;
use crate::account::mailbox::{Mailbox, Outgoing, Taken};
use crate::faults::FaultKind;
use crate::world::World;

/// How long the first of two messages waits for the second, if the fault does not say.
const HOLD: Duration = Duration::from_millis(300);
const LATE: Duration = Duration::from_millis(500);

/// Applies faults to a batch. True if it is to be written in pieces.
pub(super) async fn outgoing(world: &World, who: &Who, number: u64, batch: &mut Vec<Outgoing>) -> bool {
    if !world.faults.any() {
        return false;
    }
    let (phone, device) = who.address();
    let hit = |kind| {
        let fault = world.faults.hit(kind, phone, device);
        if fault.is_some() {
            world.stats.faults.add(1);
        }
        fault
    };
    if let Some(fault) = hit(FaultKind::Delay) {
        tokio::time::sleep(fault.delay(LATE)).await;
    }
    if batch.iter().any(is_message) {
        if let Some(fault) = hit(FaultKind::Reorder) {
            swap(who.mailbox(), number, batch, fault.delay(HOLD)).await;
        }
        if hit(FaultKind::Duplicate).is_some()
            && let Some(at) = batch.iter().position(is_message)
            && let Some(twin) = batch.get(at).cloned()
        {
            batch.insert(at, twin);
        }
    }
    hit(FaultKind::Split).is_some()
}

fn is_message(out: &Outgoing) -> bool {
    match out {
        Outgoing::Queued(node) | Outgoing::Offline(node) => node.tag == "message",
        Outgoing::Stanza(_) | Outgoing::Freeze(_) | Outgoing::Close | Outgoing::Drop => false,
    }
}

/// Makes the first two messages change places; waits a little for the second.
async fn swap(mailbox: &Mailbox, number: u64, batch: &mut Vec<Outgoing>, hold: Duration) {
    let second =
        |batch: &[Outgoing]| batch.iter().enumerate().filter(|(_, o)| is_message(o)).nth(1).map(|(i, _)| i);
    let deadline = tokio::time::Instant::now() + hold;
    while second(batch).is_none() {
        if tokio::time::timeout_at(deadline, mailbox.rung()).await.is_err() {
            return;
        }
        let room = batch.len() + 1;
        if mailbox.take(number, room, batch) == Taken::Replaced {
            return;
        }
    }
    if let (Some(first), Some(second)) = (batch.iter().position(is_message), second(batch)) {
        batch.swap(first, second);
    }
}

/// Neither reads nor writes.
pub(super) async fn freeze(world: &World, time: Duration) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = world.faults.cleared() => {}
        () = world.tasks.stopping() => {}
    }
}
