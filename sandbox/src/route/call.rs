//! `<call>`: carried to the other side's connected companions, acknowledged, never queued.

use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{CompactString, NodeRef};

use super::Sender;
use crate::account::PHONE;
use crate::clock::now_secs;
use crate::stanza::{Read as _, first_child};
use crate::world::World;

pub(super) fn handle(world: &World, from: &Sender, node: &NodeRef<'_>) {
    let Some(to) = node.jid("to") else { return };
    let id = CompactString::from(node.word("id"));
    let mut ack = NodeBuilder::new("ack").attr("class", "call").attr("id", id.clone()).attr("from", &to);
    if let Some(action) = first_child(node) {
        ack = ack.attr("type", CompactString::from(action.tag.as_ref()));
    }
    from.answer(ack.build());
    let Some(account) = world.book.of(&to) else { return };
    let children: Vec<_> = node.children().unwrap_or_default().iter().map(NodeRef::to_owned).collect();
    let stanza = NodeBuilder::new("call")
        .attr("from", from.jid(to.server))
        .attr("id", id)
        .attr("t", now_secs().to_string())
        .attr("notify", from.account.name.as_str())
        .children(children)
        .build();
    for device in account.devices() {
        let meant = to.device == 0 || to.device == device.id;
        if meant && device.id != PHONE {
            device.mailbox.say(stanza.clone());
        }
    }
}
