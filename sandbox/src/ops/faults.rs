//! Setting faults, and carrying out those that take effect at once.

use std::time::Duration;

use crate::account::PHONE;
use crate::account::mailbox::Outgoing;
use crate::error::{Code, Result, SandboxError};
use crate::faults::{FaultKind, FaultSpec, FaultView};
use crate::stanza::{conflict, stream_error};
use crate::world::World;

/// A freeze without a time ends when the faults are cleared.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn add(world: &World, spec: FaultSpec) -> Result<FaultView> {
    if let Some(phone) = &spec.phone {
        world.book.need(phone)?;
    }
    if spec.code.is_some_and(|code| !(400..=599).contains(&code)) {
        return Err(SandboxError::new(Code::Invalid, "code must be between 400 and 599"));
    }
    let mut view = world.faults.add(spec)?;
    view.hits += strike(world, &view.spec);
    Ok(view)
}

/// Immediate faults hit the links that are up now; returns how many.
fn strike(world: &World, spec: &FaultSpec) -> u64 {
    let acts: Vec<Outgoing> = match spec.kind {
        FaultKind::Drop => vec![Outgoing::Drop],
        FaultKind::Freeze => vec![Outgoing::Freeze(spec.delay(FOR_EVER))],
        FaultKind::Restart => vec![Outgoing::Stanza(stream_error("515").into()), Outgoing::Close],
        FaultKind::Replaced => vec![Outgoing::Stanza(conflict("replaced").into()), Outgoing::Close],
        FaultKind::RefuseLogin
        | FaultKind::Nack
        | FaultKind::NackStrangers
        | FaultKind::WithholdAck
        | FaultKind::Delay
        | FaultKind::Duplicate
        | FaultKind::Reorder
        | FaultKind::Split => return 0,
    };
    let mut struck = 0;
    for account in world.book.all() {
        for device in account.devices() {
            let meant = device.id != PHONE && spec.means(Some(&account.phone), device.id);
            let left = spec.times.is_none_or(|times| struck < u64::from(times));
            if meant && left && device.mailbox.is_linked() {
                acts.iter().for_each(|act| device.mailbox.tell(act.clone()));
                struck += 1;
            }
        }
    }
    world.stats.faults.add(struck);
    struck
}
