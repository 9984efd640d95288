//! `<presence>`: who is there. PROMISES: subscribers learn of changes while they are connected; nothing is queued.

use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Jid, Node, NodeRef};

use super::Sender;
use crate::account::{Account, lock};
use crate::clock::now_secs;
use crate::stanza::Read as _;
use crate::world::World;

pub(super) fn handle(world: &World, from: &Sender, node: &NodeRef<'_>) {
    match node.word("type").as_ref() {
        "" | "available" => set(world, from, true),
        "unavailable" => set(world, from, false),
        "subscribe" => subscribe(world, from, node.jid("to")),
        "unsubscribe" => {
            if let Some(account) = node.jid("to").and_then(|to| world.book.of(&to)) {
                lock(&account.presence).unwatch(&from.account.phone, from.device);
            }
        }
        _ => {}
    }
}

/// A device says, or the end of its link says for it, whether it is there.
pub(crate) fn set(world: &World, from: &Sender, available: bool) {
    let watchers: Vec<((String, u16), Jid)> = {
        let mut presence = lock(&from.account.presence);
        if !presence.set(from.device, available, now_secs()) {
            return;
        }
        presence.watchers.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    for ((phone, device), target) in watchers {
        if let Some(watcher) = world.book.find(&phone).and_then(|a| a.device(device)) {
            watcher.mailbox.say(update(&from.account, &target));
        }
    }
}

fn subscribe(world: &World, from: &Sender, to: Option<Jid>) {
    let Some(to) = to else { return };
    let Some(account) = world.book.of(&to) else { return };
    let target = to.to_non_ad();
    lock(&account.presence).watch(&from.account.phone, from.device, target.clone());
    from.answer(update(&account, &target));
}

fn update(account: &Account, target: &Jid) -> Node {
    let presence = lock(&account.presence);
    let node = NodeBuilder::new("presence").attr("from", target);
    if !presence.available.is_empty() {
        return node.attr("type", "available").build();
    }
    let node = node.attr("type", "unavailable");
    if presence.last_seen == 0 {
        node.attr("last", "deny").build()
    } else {
        node.attr("last", presence.last_seen.to_string()).build()
    }
}
