//! Small stores: props, blocked users, privacy, status text, default disappearing time.

use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{CompactString, Node, NodeRef};

use super::Request;
use crate::account::lock;
use crate::clock::now_secs;
use crate::stanza::{Read as _, first_child};

/// Privacy as a new account has it.
const PRIVACY: [(&str, &str); 8] = [
    ("last", "all"),
    ("online", "all"),
    ("profile", "all"),
    ("status", "all"),
    ("groupadd", "all"),
    ("readreceipts", "all"),
    ("calladd", "all"),
    ("messages", "all"),
];
/// Characters of a status text.
const STATUS: usize = 1000;

pub(super) fn handle(request: &Request<'_, '_>, xmlns: &str) -> Node {
    match (xmlns, request.is_set()) {
        ("abt", false) => props(request),
        ("blocklist", false) => request.result(vec![blocked(request)]),
        ("blocklist", true) => block(request),
        ("privacy", false) => privacy(request),
        ("privacy", true) => set_privacy(request),
        ("status", true) => set_status(request),
        ("disappearing_mode", true) => set_disappearing(request),
        ("w:profile:picture", false) => request.error(404, "item-not-found"),
        _ => request.result(Vec::new()),
    }
}

fn props(request: &Request<'_, '_>) -> Node {
    let props = NodeBuilder::new("props")
        .attr("protocol", "1")
        .attr("hash", "recado-sandbox")
        .attr("refresh", "86400")
        .attr("refresh_id", "1");
    request.result(vec![props.build()])
}

fn blocked(request: &Request<'_, '_>) -> Node {
    let settings = lock(&request.from.account.settings);
    let items = settings.blocked.iter().map(|(jid, time)| {
        NodeBuilder::new("item").attr("jid", jid.as_str()).attr("t", time.to_string()).build()
    });
    NodeBuilder::new("list").children(items).build()
}

fn block(request: &Request<'_, '_>) -> Node {
    let item = request.body.filter(|b| b.tag == "item");
    let Some((jid, item)) = item.and_then(|i| i.jid("jid").map(|jid| (jid, i))) else {
        return request.error(400, "bad-request");
    };
    let on = item.word("action") == "block";
    lock(&request.from.account.settings).block(jid.to_non_ad_string(), on, now_secs());
    request.from.account.touch();
    request.result(vec![blocked(request)])
}

fn privacy(request: &Request<'_, '_>) -> Node {
    let settings = lock(&request.from.account.settings);
    let mut values: Vec<(&str, &str)> =
        settings.privacy.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let missing = PRIVACY.into_iter().filter(|(name, _)| !settings.privacy.contains_key(*name));
    values.extend(missing);
    let categories = values
        .into_iter()
        .map(|(name, value)| NodeBuilder::new("category").attr("name", name).attr("value", value).build());
    request.result(vec![NodeBuilder::new("privacy").children(categories).build()])
}

fn set_privacy(request: &Request<'_, '_>) -> Node {
    let categories = request.body.and_then(NodeRef::children).unwrap_or_default();
    let mut settings = lock(&request.from.account.settings);
    for category in categories {
        settings.set_privacy(category.word("name").into_owned(), category.word("value").into_owned());
    }
    drop(settings);
    request.from.account.touch();
    let echo = categories.iter().map(|c| {
        NodeBuilder::new("category")
            .attr("name", CompactString::from(c.word("name")))
            .attr("value", CompactString::from(c.word("value")))
            .build()
    });
    request.result(vec![NodeBuilder::new("privacy").children(echo).build()])
}

fn set_status(request: &Request<'_, '_>) -> Node {
    let Some(text) = request.body.and_then(NodeRef::content_as_string) else {
        return request.error(400, "bad-request");
    };
    let text: String = text.chars().take(STATUS).collect();
    lock(&request.from.account.settings).status = Some((text, now_secs()));
    request.from.account.touch();
    request.result(Vec::new())
}

fn set_disappearing(request: &Request<'_, '_>) -> Node {
    let duration = first_child(request.iq).and_then(|n| n.word("duration").parse().ok());
    let Some(duration) = duration else { return request.error(400, "bad-request") };
    lock(&request.from.account.settings).disappearing = duration;
    request.from.account.touch();
    request.result(Vec::new())
}
