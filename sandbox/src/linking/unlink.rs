//! Taking a companion off its account.

use std::sync::Arc;

use whatsapp_rust::wacore_binary::Server;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::offer::{device_node, key_index_list};
use crate::account::Account;
use crate::account::device::Device;
use crate::account::mailbox::Outgoing;
use crate::clock::now_secs;
use crate::error::Result;
use crate::stanza::{conflict, notification};
use crate::world::World;

/// Takes a device off, tells it so, and cuts its link. Its next login is refused.
pub(crate) fn unlink(world: &World, account: &Arc<Account>, device: u16) -> Result<()> {
    let gone = forget(world, account, device)?;
    gone.mailbox.say(conflict("device_removed"));
    gone.mailbox.tell(Outgoing::Close);
    Ok(())
}

/// Takes a device off without telling it.
pub(crate) fn forget(world: &World, account: &Arc<Account>, device: u16) -> Result<Arc<Device>> {
    let index = account.device_list().devices.iter().find(|(id, _)| *id == device).map_or(0, |(_, i)| *i);
    // The phone first: the new list is signed without the device.
    account.handset().unlink(device, now_secs());
    let gone = account.remove_device(device)?;
    if let Some(noise) = &gone.noise {
        world.book.remove_noise(noise);
    }
    world.stats.unlinked.add(1);
    let list = account.device_list();
    let from = account.jid(Server::Pn, 0);
    let lid = account.jid(Server::Lid, 0);
    world.notify_companions(account, device, |id| {
        let node = device_node(account.jid(Server::Pn, device), account.jid(Server::Lid, device), index);
        notification("devices", from.clone(), id)
            .attr("lid", lid.clone())
            .children([NodeBuilder::new("remove")
                .attr("device_hash", list.hash.clone())
                .children([node, key_index_list(list.timestamp, None)])
                .build()])
            .build()
    });
    Ok(gone)
}
