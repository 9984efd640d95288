//! `usync`: who is on WhatsApp, under which addresses, with which devices. PROMISES: an unchanged device list is left
//! out when the client names its hash.

use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{CompactString, Jid, Node, NodeRef, Server};

use super::Request;
use crate::account::{Account, lock};
use crate::stanza::Read as _;

/// Users one query may name.
const MAX_USERS: usize = 4096;

pub(super) fn handle(request: &Request<'_, '_>) -> Node {
    let Some(usync) = request.body.filter(|b| b.tag == "usync") else {
        return request.error(400, "bad-request");
    };
    let children = |tag: &str| usync.get_optional_child(tag).and_then(NodeRef::children).unwrap_or_default();
    let protocols = children("query");
    let users: Vec<Node> =
        children("list").iter().take(MAX_USERS).filter_map(|u| user(request, protocols, u)).collect();
    let states = protocols.iter().map(|p| NodeBuilder::new_dynamic(p.tag.to_string()).build());
    let echo = |name: &str, otherwise: &'static str| {
        usync.text(name).map_or_else(|| CompactString::const_new(otherwise), CompactString::from)
    };
    let answer = NodeBuilder::new("usync")
        .attr("sid", echo("sid", ""))
        .attr("mode", echo("mode", "query"))
        .attr("context", echo("context", "interactive"))
        .attr("index", "0")
        .attr("last", "true")
        .children([
            NodeBuilder::new("result").children(states).build(),
            NodeBuilder::new("list").children(users).build(),
        ]);
    request.result(vec![answer.build()])
}

/// One asked-for user; `None` leaves it out.
fn user(request: &Request<'_, '_>, protocols: &[NodeRef<'_>], asked: &NodeRef<'_>) -> Option<Node> {
    let by_contact = asked.get_optional_child("contact").and_then(NodeRef::content_as_string);
    let jid = match (asked.jid("jid"), &by_contact) {
        (Some(jid), _) => jid.to_non_ad(),
        (None, Some(number)) => Jid::pn(number.trim_start_matches('+')),
        (None, None) => return None,
    };
    let Some(account) = request.world.book.of(&jid) else {
        return Some(stranger(protocols, jid, by_contact));
    };
    // A contact query by number is answered with the address WhatsApp uses for it.
    let mut answers = Vec::with_capacity(protocols.len());
    for protocol in protocols {
        match protocol.tag.as_ref() {
            "devices" => match devices(&account, asked) {
                Some(node) => answers.push(node),
                None if protocols.len() == 1 => return None,
                None => {}
            },
            "contact" => answers.push(contact("in", by_contact.as_ref())),
            "lid" => {
                answers.push(NodeBuilder::new("lid").attr("val", account.jid(Server::Lid, 0)).build());
            }
            "status" => answers.extend(status(&account)),
            "disappearing_mode" => answers.push(disappearing(&account)),
            // No picture, business profile, bot or username: a person without them has no such node.
            _ => {}
        }
    }
    let mut node = NodeBuilder::new("user").attr("jid", jid.clone());
    if jid.server.is_lid_family() {
        node = node.attr("pn_jid", account.jid(Server::Pn, 0));
    }
    Some(node.children(answers).build())
}

fn stranger(protocols: &[NodeRef<'_>], jid: Jid, by_contact: Option<CompactString>) -> Node {
    let node = NodeBuilder::new("user").attr("jid", jid);
    if protocols.iter().any(|p| p.tag == "contact") {
        return node.children([contact("out", by_contact.as_ref())]).build();
    }
    node.build()
}

fn contact(kind: &'static str, number: Option<&CompactString>) -> Node {
    let node = NodeBuilder::new("contact").attr("type", kind);
    match number {
        Some(number) => node.string_content(number.clone()).build(),
        None => node.build(),
    }
}

fn devices(account: &Account, asked: &NodeRef<'_>) -> Option<Node> {
    let list = account.device_list();
    let known = asked.get_optional_child("devices").and_then(|d| d.text("device_hash"));
    if known.is_some_and(|hash| hash == list.hash) {
        return None;
    }
    let devices = list.devices.iter().map(|(id, index)| {
        let device = NodeBuilder::new("device").attr("id", *id);
        if *id == 0 { device.build() } else { device.attr("key-index", *index).build() }
    });
    Some(
        NodeBuilder::new("devices")
            .children([
                NodeBuilder::new("device-list").attr("hash", list.hash.as_str()).children(devices).build(),
                NodeBuilder::new("key-index-list")
                    .attr("ts", list.timestamp.to_string())
                    .bytes(list.signed.clone())
                    .build(),
            ])
            .build(),
    )
}

fn status(account: &Account) -> Option<Node> {
    let settings = lock(&account.settings);
    let (text, time) = settings.status.as_ref()?;
    Some(NodeBuilder::new("status").attr("t", time.to_string()).string_content(text.as_str()).build())
}

fn disappearing(account: &Account) -> Node {
    let duration = lock(&account.settings).disappearing;
    NodeBuilder::new("disappearing_mode").attr("duration", duration.to_string()).attr("t", "0").build()
}
