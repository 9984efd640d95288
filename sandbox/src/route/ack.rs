//! `<ack>` of a client: it has a notification, receipt or call, or refuses a message for good.

use whatsapp_rust::wacore_binary::NodeRef;

use super::Sender;
use crate::account::mailbox::Class;
use crate::stanza::Read as _;

pub(super) fn handle(from: &Sender, node: &NodeRef<'_>) {
    if let Some(class) = Class::parse(&node.word("class"))
        && let Some(device) = from.device()
    {
        device.mailbox.confirm(class, &node.word("id"));
    }
}
