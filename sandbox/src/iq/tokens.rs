//! `privacy` tokens: a sender tells a contact that it may be trusted; the contact's devices get the token.

use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{CompactString, Jid, Node, NodeRef, Server};

use super::Request;
use crate::account::PHONE;
use crate::account::mailbox::Class;
use crate::route::post;
use crate::stanza::{Read as _, notification};

/// Contacts one request may name.
const MAX_TOKENS: usize = 256;

pub(super) fn handle(request: &Request<'_, '_>) -> Node {
    for token in request.body.and_then(NodeRef::children).unwrap_or_default().iter().take(MAX_TOKENS) {
        if let Some(jid) = token.jid("jid") {
            issue(request, &jid, &CompactString::from(token.word("t")));
        }
    }
    request.result(Vec::new())
}

fn issue(request: &Request<'_, '_>, to: &Jid, time: &CompactString) {
    let (world, account) = (request.world, &request.from.account);
    let Some(peer) = world.book.of(to) else { return };
    let bytes = token(world.identity.static_private(), &account.phone, &peer.phone, time);
    for device in peer.devices() {
        if device.id == PHONE {
            continue;
        }
        let id = world.next_id();
        let child = NodeBuilder::new("token").attr("t", time.clone()).attr("type", "trusted_contact");
        let stanza = notification("privacy_token", account.jid(to.server, PHONE), &id)
            .attr("sender_lid", account.jid(Server::Lid, PHONE))
            .children([NodeBuilder::new("tokens").children([child.bytes(bytes.clone()).build()]).build()])
            .build();
        post(world, &device, Class::Notification, &id, Arc::new(stanza));
    }
}

/// Opaque to clients; nobody but this sandbox could make the same.
fn token(key: &[u8; 32], from: &str, to: &str, time: &str) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    for part in ["trusted contact", from, to, time] {
        mac.update(part.as_bytes());
        mac.update(&[0]);
    }
    mac.finalize().into_bytes().to_vec()
}
