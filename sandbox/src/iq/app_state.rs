//! `w:sync:app:state`: encrypted settings that an account's devices share. PROMISES: patches of a collection form one
//! line; a patch made on an old version is refused with the newer ones; siblings are told.

use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{CompactString, Node, NodeRef, Server};
use whatsapp_rust::waproto::whatsapp::{SyncdPatch, SyncdVersion};

use super::Request;
use crate::account::lock;
use crate::account::settings::{Collection, Refused};
use crate::stanza::{Read as _, notification};

/// Patches in one answer.
const PAGE: usize = 200;
/// Collections one request may name, and how many an account may have.
const MAX_COLLECTIONS: usize = 32;

pub(super) fn handle(request: &Request<'_, '_>) -> Node {
    let asked = request.body.and_then(NodeRef::children).unwrap_or_default();
    if asked.len() > MAX_COLLECTIONS {
        return request.error(400, "bad-request");
    }
    let answers: Vec<Node> = asked.iter().map(|collection| answer(request, collection)).collect();
    request.result(vec![NodeBuilder::new("sync").children(answers).build()])
}

fn answer(request: &Request<'_, '_>, asked: &NodeRef<'_>) -> Node {
    let name = CompactString::from(asked.word("name"));
    let known: u64 = asked.word("version").parse().unwrap_or(0);
    let patch = asked
        .get_optional_child("patch")
        .or_else(|| asked.get_optional_child("patches").and_then(|p| p.get_optional_child("patch")))
        .and_then(NodeRef::content_bytes);
    let mut settings = lock(&request.from.account.settings);
    if !settings.collections.contains_key(name.as_str()) && settings.collections.len() >= MAX_COLLECTIONS {
        return failed(&name, 400);
    }
    let collection = settings.collections.entry(name.to_string()).or_default();
    let Some(patch) = patch else { return page(&name, collection, known, None) };
    let Some(patch) = numbered(patch, collection.version() + 1) else { return failed(&name, 400) };
    match collection.append(known, patch) {
        Ok(version) => {
            let node = NodeBuilder::new("collection").attr("name", name.clone()).attr("version", version);
            drop(settings);
            request.from.account.touch();
            tell_siblings(request, &name, version);
            node.build()
        }
        Err(Refused::Conflict) => page(&name, collection, known, Some(409)),
        Err(Refused::Full) => failed(&name, 503),
    }
}

/// A patch as the server hands it on: with its version, which clients leave out.
fn numbered(patch: &[u8], version: u64) -> Option<Vec<u8>> {
    let mut patch = SyncdPatch::decode_from_slice(patch).ok()?;
    patch.version = MessageField::some(SyncdVersion { version: Some(version) });
    Some(patch.encode_to_vec())
}

fn page(name: &CompactString, collection: &Collection, known: u64, error: Option<u16>) -> Node {
    let all = collection.after(known);
    let page = &all[..all.len().min(PAGE)];
    let mut node = NodeBuilder::new("collection")
        .attr("name", name.clone())
        .attr("version", known.min(collection.version()) + page.len() as u64);
    if all.len() > page.len() || (error.is_some() && !all.is_empty()) {
        node = node.attr("has_more_patches", "true");
    }
    let mut children = Vec::with_capacity(2);
    if let Some(code) = error {
        node = node.attr("type", "error");
        children
            .push(NodeBuilder::new("error").attr("code", code.to_string()).attr("text", "conflict").build());
    }
    if !page.is_empty() {
        let patches = page.iter().map(|p| NodeBuilder::new("patch").bytes(p.clone()).build());
        children.push(NodeBuilder::new("patches").children(patches).build());
    }
    if children.is_empty() { node.build() } else { node.children(children).build() }
}

fn failed(name: &CompactString, code: u16) -> Node {
    NodeBuilder::new("collection")
        .attr("name", name.clone())
        .attr("type", "error")
        .children([NodeBuilder::new("error").attr("code", code.to_string()).attr("text", "refused").build()])
        .build()
}

fn tell_siblings(request: &Request<'_, '_>, name: &CompactString, version: u64) {
    let account = &request.from.account;
    request.world.notify_companions(account, request.from.device, |id| {
        let collection = NodeBuilder::new("collection").attr("name", name.clone()).attr("version", version);
        notification("server_sync", account.jid(Server::Pn, 0), id).children([collection.build()]).build()
    });
}
