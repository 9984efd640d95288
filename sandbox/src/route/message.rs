//! `<message>`: one ciphertext per device in, one stanza per device out. PROMISES: a message is refused as a whole when a
//! mailbox it needs is full; a device sees its own ciphertext only; the sender is told when its device list was wrong.

use std::sync::Arc;

use whatsapp_rust::wacore::messages::MessageUtils;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{CompactString, Jid, Node, NodeRef, Server};

use super::{Sender, post};
use crate::account::device::Device;
use crate::account::mailbox::Class;
use crate::account::{Account, PHONE};
use crate::clock::now_secs;
use crate::faults::{FaultKind, FaultSpec};
use crate::stanza::Read as _;
use crate::world::World;

/// Attributes that go through unchanged.
const CARRIED: [&str; 5] = ["edit", "category", "push_priority", "decrypt-fail", "addressing_mode"];
/// Children that go through to every device.
const SHARED: [&str; 5] = ["meta", "reporting", "biz", "bot", "multicast"];
/// Devices one message may name.
const MAX_TARGETS: usize = 4096;

/// The ciphertext for one device.
struct Target<'a, 'b> {
    jid: Jid,
    account: Arc<Account>,
    device: Arc<Device>,
    ciphertext: &'a [NodeRef<'b>],
}

/// What became of a message.
enum Verdict {
    Accepted { phash: Option<String> },
    Refused(u16),
}

pub(super) fn handle(world: &World, from: &Sender, node: &NodeRef<'_>) {
    world.stats.messages.add(1);
    let (phone, device) = (Some(from.account.phone.as_str()), from.device);
    if from.is_phone() {
        world.stats.phone_sent.add(1);
    } else if let Some(fault) = refusal(world, from, node) {
        world.stats.faults.add(1);
        answer(world, from, node, &Verdict::Refused(fault.code.unwrap_or(463)));
        return;
    }
    let verdict = route(world, from, node);
    if !from.is_phone() && world.faults.hit(FaultKind::WithholdAck, phone, device).is_some() {
        world.stats.faults.add(1);
        return;
    }
    answer(world, from, node, &verdict);
}

/// The fault by which a message is refused, if there is one.
fn refusal(world: &World, from: &Sender, node: &NodeRef<'_>) -> Option<FaultSpec> {
    if !world.faults.any() {
        return None;
    }
    let (phone, device) = (Some(from.account.phone.as_str()), from.device);
    world.faults.hit(FaultKind::Nack, phone, device).or_else(|| {
        let peer = world.book.of(&node.jid("to")?)?;
        let strangers = !Arc::ptr_eq(&peer, &from.account) && !from.account.has_spoken_with(&peer);
        strangers.then(|| world.faults.hit(FaultKind::NackStrangers, phone, device)).flatten()
    })
}

fn answer(world: &World, from: &Sender, node: &NodeRef<'_>, verdict: &Verdict) {
    if from.is_phone() {
        return;
    }
    world.stats.acks.add(1);
    let mut ack = NodeBuilder::new("ack")
        .attr("class", "message")
        .attr("id", CompactString::from(node.word("id")))
        .attr("t", now_secs().to_string());
    if let Some(to) = node.get_attr("to") {
        ack = ack.attr("from", to.to_node_value());
    }
    match verdict {
        Verdict::Accepted { phash: None } => {}
        Verdict::Accepted { phash: Some(hash) } => ack = ack.attr("phash", hash),
        Verdict::Refused(code) => {
            world.stats.nacks.add(1);
            ack = ack.attr("error", code.to_string());
        }
    }
    from.answer(ack.build());
}

fn route(world: &World, from: &Sender, node: &NodeRef<'_>) -> Verdict {
    let Some(to) = node.jid("to") else { return Verdict::Refused(400) };
    if node.word("id").is_empty() {
        return Verdict::Refused(400);
    }
    let peer = world.book.of(&to);
    let broadcast = matches!(to.server, Server::Broadcast | Server::Newsletter);
    if !broadcast && peer.is_none() {
        return Verdict::Refused(404);
    }
    let Some(targets) = targets(world, &to, node) else { return Verdict::Refused(400) };
    if targets.iter().any(|t| !t.device.mailbox.has_room()) {
        world.stats.overflow.add(1);
        return Verdict::Refused(503);
    }
    let envelope = Envelope::new(from, &to, peer, node);
    for target in &targets {
        let stanza = Arc::new(envelope.address(target));
        post(world, &target.device, Class::Message, &envelope.id, stanza);
    }
    // A retry and a peer message name one device on purpose.
    let fan_out = node.get_optional_child("participants").is_some();
    let phash = envelope.peer.filter(|_| fan_out).and_then(|peer| right_phash(from, &to, &peer, node));
    Verdict::Accepted { phash }
}

/// The devices a message names; `None` if it makes no sense.
fn targets<'a, 'b>(world: &World, to: &Jid, node: &'a NodeRef<'b>) -> Option<Vec<Target<'a, 'b>>> {
    let Some(participants) = node.get_optional_child("participants") else {
        // A bare ciphertext is for one device.
        let jid = node.jid("participant").unwrap_or_else(|| to.clone());
        return Some(target(world, jid, node.children()?).into_iter().collect());
    };
    let named = participants.children().unwrap_or_default();
    if named.len() > MAX_TARGETS {
        return None;
    }
    let mut targets = Vec::with_capacity(named.len());
    for entry in named {
        let found = target(world, entry.jid("jid")?, entry.children()?);
        if found.is_none() {
            // Unlinked in the meantime; the hash in the ack says so.
            world.stats.unroutable.add(1);
        }
        targets.extend(found);
    }
    Some(targets)
}

fn target<'a, 'b>(world: &World, jid: Jid, children: &'a [NodeRef<'b>]) -> Option<Target<'a, 'b>> {
    let account = world.book.of(&jid)?;
    let device = account.device(jid.device)?;
    Some(Target { jid, account, device, ciphertext: children })
}

/// What all copies of one message have in common.
struct Envelope<'a> {
    from: &'a Sender,
    to: &'a Jid,
    /// The account written to; none for a broadcast.
    peer: Option<Arc<Account>>,
    id: CompactString,
    kind: CompactString,
    time: String,
    carried: Vec<(&'static str, CompactString)>,
    shared: Vec<Node>,
}

impl<'a> Envelope<'a> {
    fn new(from: &'a Sender, to: &'a Jid, peer: Option<Arc<Account>>, node: &NodeRef<'_>) -> Self {
        let keep = |name: &'static str| node.text(name).map(|v| (name, CompactString::from(v)));
        let children = node.children().unwrap_or_default();
        let shared = |c: &&NodeRef<'_>| c.tag == "device-identity" || SHARED.contains(&c.tag.as_ref());
        let bare = node.get_optional_child("participants").is_none();
        Self {
            from,
            to,
            peer,
            id: CompactString::from(node.word("id")),
            kind: node.text("type").map_or(CompactString::const_new("text"), CompactString::from),
            time: now_secs().to_string(),
            carried: CARRIED.into_iter().filter_map(keep).collect(),
            // A bare stanza's children are its ciphertext, and go out as they are.
            shared: if bare {
                Vec::new()
            } else {
                children.iter().filter(shared).map(NodeRef::to_owned).collect()
            },
        }
    }

    /// The stanza for one device.
    fn address(&self, target: &Target<'_, '_>) -> Node {
        let server = target.jid.server;
        let account = &self.from.account;
        let mut stanza = NodeBuilder::new("message")
            .attr("id", self.id.clone())
            .attr("type", self.kind.clone())
            .attr("t", self.time.as_str())
            .attr("notify", account.name.as_str());
        let sender = self.from.jid(server);
        let other = account.other_jid(server, PHONE);
        let broadcast = self.to.server == Server::Broadcast;
        let name = match (broadcast, server.is_lid_family()) {
            (true, true) => "participant_pn",
            (true, false) => "participant_lid",
            (false, true) => "sender_pn",
            (false, false) => "sender_lid",
        };
        stanza = if broadcast {
            stanza.attr("from", self.to).attr("participant", sender).attr(name, other)
        } else if let Some(chat) = self.chat_of_copy(target) {
            name_chat(stanza.attr("from", sender), chat, self.peer.as_deref())
        } else {
            stanza.attr("from", sender).attr(name, other)
        };
        for (name, value) in &self.carried {
            stanza = stanza.attr(name, value.clone());
        }
        let needs_identity = target.ciphertext.iter().any(|c| c.word("type") == "pkmsg");
        let shared = self.shared.iter().filter(|n| needs_identity || n.tag != "device-identity");
        stanza.children(target.ciphertext.iter().map(NodeRef::to_owned).chain(shared.cloned())).build()
    }

    /// The conversation, which the sender's own devices have to be told; peer messages have none.
    fn chat_of_copy(&self, target: &Target<'_, '_>) -> Option<Jid> {
        if !Arc::ptr_eq(&target.account, &self.from.account) {
            return None;
        }
        let chat = self.to.to_non_ad();
        let is_peer = self.carried.iter().any(|(name, value)| *name == "category" && value == "peer");
        let to_self_device = is_of(&chat, &target.account) && self.to.device != 0;
        (!is_peer && !to_self_device).then_some(chat)
    }
}

/// Says which conversation it is, under both names of the other side.
fn name_chat(stanza: NodeBuilder, chat: Jid, peer: Option<&Account>) -> NodeBuilder {
    let stanza = match peer {
        Some(peer) if chat.server.is_lid_family() => {
            let number = peer.jid(Server::Pn, PHONE);
            stanza.attr("peer_recipient_pn", &number).attr("recipient_pn", number)
        }
        Some(peer) => {
            let lid = peer.jid(Server::Lid, PHONE);
            stanza.attr("peer_recipient_lid", &lid).attr("recipient_lid", lid)
        }
        None => stanza,
    };
    stanza.attr("recipient", chat)
}

/// The hash over the right device list, if the sender used another one.
fn right_phash(from: &Sender, to: &Jid, peer: &Arc<Account>, node: &NodeRef<'_>) -> Option<String> {
    let named: Vec<Jid> = node
        .get_optional_child("participants")?
        .children()
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| entry.jid("jid"))
        .collect();
    let space = |account: &Account| named.iter().find(|j| is_of(j, account)).map_or(to.server, |j| j.server);
    let mut right: Vec<Jid> = Vec::with_capacity(named.len() + 1);
    let peer_space = space(peer);
    right.extend(peer.device_ids().into_iter().map(|id| peer.jid(peer_space, id)));
    if !Arc::ptr_eq(peer, &from.account) {
        let own_space = space(&from.account);
        right.extend(from.account.device_ids().into_iter().map(|id| from.account.jid(own_space, id)));
    }
    right.retain(|jid| !(jid.device == from.device && is_of(jid, &from.account)));
    let same = right.len() == named.len() && right.iter().all(|jid| named.contains(jid));
    if same { None } else { MessageUtils::participant_list_hash(&right).ok() }
}

fn is_of(jid: &Jid, account: &Account) -> bool {
    jid.user == account.lid.as_str() || jid.user == account.phone.as_str()
}
