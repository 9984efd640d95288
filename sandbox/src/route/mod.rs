//! From one device to the others. PROMISES: what one device writes reaches the devices it names, in order, addressed as
//! WhatsApp's server would; the writer is told what became of it.

pub(crate) mod ack;
pub(crate) mod call;
pub(crate) mod chatstate;
pub(crate) mod message;
pub(crate) mod presence;
pub(crate) mod receipt;

use std::sync::Arc;

use whatsapp_rust::wacore_binary::{Jid, Node, NodeRef, Server};

use crate::account::device::Device;
use crate::account::mailbox::Class;
use crate::account::{Account, PHONE};
use crate::iq;
use crate::world::World;

/// Who wrote a stanza.
#[derive(Clone)]
pub(crate) struct Sender {
    pub(crate) account: Arc<Account>,
    pub(crate) device: u16,
}

impl Sender {
    /// The sender in the name space of an address it wrote to.
    pub(crate) fn jid(&self, server: Server) -> Jid {
        self.account.jid(server, self.device)
    }

    pub(crate) fn is_phone(&self) -> bool {
        self.device == PHONE
    }

    pub(crate) fn device(&self) -> Option<Arc<Device>> {
        self.account.device(self.device)
    }

    /// Answers the sender. Phones need no answers: a stanza they wrote was taken.
    pub(crate) fn answer(&self, node: Node) {
        if !self.is_phone()
            && let Some(device) = self.device()
        {
            device.mailbox.say(node);
        }
    }
}

/// Handles one stanza of a linked device or a phone.
pub(crate) fn stanza(world: &World, from: &Sender, node: &NodeRef<'_>) {
    match node.tag.as_ref() {
        "message" => message::handle(world, from, node),
        "receipt" => receipt::handle(world, from, node),
        "ack" => ack::handle(from, node),
        "iq" => iq::handle(world, from, node),
        "presence" => presence::handle(world, from, node),
        "chatstate" => chatstate::handle(world, from, node),
        "call" => call::handle(world, from, node),
        "ib" => {}
        // The real server ends the stream of a client that invents stanzas; here that would only hide the mistake.
        _ => world.stats.unroutable.add(1),
    }
}

/// Queues a stanza for a device and counts it.
pub(crate) fn post(world: &World, device: &Device, class: Class, id: &str, node: Arc<Node>) {
    match device.mailbox.post(class, id, node) {
        Ok(()) => world.stats.routed.add(1),
        Err(_) => world.stats.overflow.add(1),
    }
}
