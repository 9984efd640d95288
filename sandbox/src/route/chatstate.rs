//! `<chatstate>`: typing. PROMISES: it reaches connected devices only and is never queued; a forgotten one is ended.

use std::sync::Arc;

use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Jid, Node, NodeRef};

use super::{Sender, post};
use crate::account::PHONE;
use crate::account::mailbox::Class;
use crate::stanza::{Read as _, first_child};
use crate::world::World;

pub(super) fn handle(world: &World, from: &Sender, node: &NodeRef<'_>) {
    let (Some(to), Some(state)) = (node.jid("to"), first_child(node)) else { return };
    if state.tag == "composing" {
        world.typing.started(from, &to, world.config.chatstate_ttl);
    } else {
        world.typing.ended(from, &to);
    }
    deliver(world, from, &to, state.to_owned());
}

/// Tells the other side's devices.
pub(crate) fn deliver(world: &World, from: &Sender, to: &Jid, state: Node) {
    let Some(account) = world.book.of(to) else { return };
    let stanza =
        NodeBuilder::new("chatstate").attr("from", from.jid(to.server).to_non_ad()).children([state]).build();
    let stanza = Arc::new(stanza);
    for device in account.devices() {
        if device.id == PHONE {
            // The phone is always connected and takes what is posted at once.
            post(world, &device, Class::Notification, "", Arc::clone(&stanza));
        } else if device.mailbox.is_live() {
            device.mailbox.tell(crate::account::mailbox::Outgoing::Stanza(Arc::clone(&stanza)));
        }
    }
}
