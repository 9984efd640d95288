//! `<receipt>`: takes messages off the reader's queue and tells the writer. PROMISES: a receipt about n messages confirms
//! n messages; a retry request goes to the one device that wrote the message.

use std::sync::Arc;

use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{CompactString, Jid, Node, NodeRef};

use super::{Sender, post};
use crate::account::device::Device;
use crate::account::mailbox::Class;
use crate::account::{Account, PHONE, lock};
use crate::clock::now_secs;
use crate::stanza::Read as _;
use crate::world::World;

/// Where a type of receipt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    /// To all devices of the other side.
    Everywhere,
    /// To the device that wrote the message.
    ToDevice,
    /// To the reader's other devices.
    ToOwn,
}

impl Goes {
    fn of(kind: &str) -> Self {
        match kind {
            "retry" | "enc_rekey_retry" | "peer_msg" | "hist_sync" | "server-error" | "sender" => {
                Self::ToDevice
            }
            "read-self" | "played-self" => Self::ToOwn,
            _ => Self::Everywhere,
        }
    }
}

pub(super) fn handle(world: &World, from: &Sender, node: &NodeRef<'_>) {
    world.stats.receipts.add(1);
    let (id, kind) = (node.word("id"), node.word("type"));
    let Some(to) = node.jid("to") else { return };
    let Some(device) = from.device() else { return };
    confirm(&device, node, &id, &kind);
    acknowledge(from, node, &id, &kind);
    if kind == "retry" {
        world.stats.retries.add(1);
    }
    let goes = Goes::of(&kind);
    if goes == Goes::ToOwn {
        tell_own(world, from, &to, node);
        return;
    }
    let Some(account) = receiver(world, &to, node) else { return };
    let stanza = Arc::new(address(from, &to, node));
    for target in account.devices() {
        let meant = goes == Goes::Everywhere || target.id == addressee(&to, node).device;
        let itself = target.id == from.device && Arc::ptr_eq(&account, &from.account);
        if meant && !itself {
            post(world, &target, Class::Receipt, &id, Arc::clone(&stanza));
        }
    }
    if kind == "read" || kind == "played" {
        tell_own(world, from, &to, node);
    }
}

/// The messages leave the queue, and the kill tests learn their ids.
fn confirm(device: &Device, node: &NodeRef<'_>, id: &str, kind: &str) {
    let more = node.get_optional_child("list").and_then(|l| l.children()).unwrap_or_default();
    let seen = !matches!(kind, "retry" | "enc_rekey_retry" | "peer_msg" | "hist_sync" | "server-error");
    for id in std::iter::once(id.into()).chain(more.iter().map(|item| item.word("id"))) {
        device.mailbox.confirm(Class::Message, &id);
        if seen && device.id != PHONE {
            lock(&device.receipted).push(&id);
        }
    }
}

fn acknowledge(from: &Sender, node: &NodeRef<'_>, id: &str, kind: &str) {
    let mut ack = NodeBuilder::new("ack")
        .attr("class", "receipt")
        .attr("id", CompactString::from(id))
        .attr("t", now_secs().to_string());
    if let Some(to) = node.get_attr("to") {
        ack = ack.attr("from", to.to_node_value());
    }
    if !kind.is_empty() {
        ack = ack.attr("type", CompactString::from(kind));
    }
    if let Some(participant) = node.get_attr("participant") {
        ack = ack.attr("participant", participant.to_node_value());
    }
    from.answer(ack.build());
}

/// Who a receipt is for. In groups and broadcasts that is the participant.
fn addressee(to: &Jid, node: &NodeRef<'_>) -> Jid {
    if to.server.is_lid_family() || to.server.is_pn_family() {
        return to.clone();
    }
    node.jid("participant").unwrap_or_else(|| to.clone())
}

fn receiver(world: &World, to: &Jid, node: &NodeRef<'_>) -> Option<Arc<Account>> {
    world.book.of(&addressee(to, node))
}

fn address(from: &Sender, to: &Jid, node: &NodeRef<'_>) -> Node {
    let whom = addressee(to, node);
    let reader = from.jid(whom.server);
    let mut stanza = NodeBuilder::new("receipt")
        .attr("id", CompactString::from(node.word("id")))
        .attr("t", now_secs().to_string());
    stanza = if &whom == to {
        stanza.attr("from", reader)
    } else {
        stanza.attr("from", to).attr("participant", reader)
    };
    for name in ["type", "recipient", "category"] {
        if let Some(value) = node.get_attr(name) {
            stanza = stanza.attr(name, value.to_node_value());
        }
    }
    match node.children() {
        Some(children) => stanza.children(children.iter().map(NodeRef::to_owned)).build(),
        None => stanza.build(),
    }
}

/// The reader's other companions learn that something was read on this one.
fn tell_own(world: &World, from: &Sender, chat: &Jid, node: &NodeRef<'_>) {
    let id = node.word("id");
    let kind = if node.word("type").starts_with("played") { "played-self" } else { "read-self" };
    let mut stanza = NodeBuilder::new("receipt")
        .attr("id", CompactString::from(id.as_ref()))
        .attr("type", kind)
        .attr("from", from.jid(chat.server))
        .attr("recipient", chat.to_non_ad())
        .attr("t", now_secs().to_string());
    if let Some(list) = node.get_optional_child("list") {
        stanza = stanza.children([list.to_owned()]);
    }
    let stanza = Arc::new(stanza.build());
    for device in from.account.devices() {
        if device.id != from.device && device.id != PHONE {
            post(world, &device, Class::Receipt, &id, Arc::clone(&stanza));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_go_to_one_device_and_read_marks_of_oneself_stay_at_home() {
        assert_eq!(Goes::of("retry"), Goes::ToDevice);
        assert_eq!(Goes::of("read-self"), Goes::ToOwn);
        for kind in ["", "inactive", "read", "played"] {
            assert_eq!(Goes::of(kind), Goes::Everywhere);
        }
    }
}
