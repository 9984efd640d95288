//! `encrypt`: public keys. PROMISES: a one-time key is handed out once, oldest first; the digest is over exactly the
//! keys in stock.

use whatsapp_rust::wacore::iq::prekeys::{OneTimePreKeyNode, PreKeyBundleUserNode, SignedPreKeyNode};
use whatsapp_rust::wacore::prekeys::compute_key_bundle_digest;
use whatsapp_rust::wacore::protocol::ProtocolNode as _;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Jid, Node, NodeRef};

use super::Request;
use crate::account::device::Stock;
use crate::account::lock;
use crate::phone::{OneTimePreKey, PeerBundle, SignedPreKey};
use crate::stanza::{Read as _, child_bytes, number};

/// Users one fetch may name.
const MAX_FETCH: usize = 4096;

pub(super) fn handle(request: &Request<'_, '_>) -> Node {
    match request.tag() {
        "count" => count(request),
        "key" => fetch(request),
        "digest" => digest(request),
        "rotate" => rotate(request),
        "" => request.error(400, "bad-request"),
        _ => upload(request),
    }
}

fn count(request: &Request<'_, '_>) -> Node {
    let count = request.from.device().map_or(0, |d| lock(&d.keys).one_time.len());
    request.result(vec![NodeBuilder::new("count").attr("value", count.to_string()).build()])
}

fn fetch(request: &Request<'_, '_>) -> Node {
    let asked = request.body.and_then(NodeRef::children).unwrap_or_default();
    let jids = asked.iter().take(MAX_FETCH).filter_map(|user| user.jid("jid"));
    let users = jids.map(|jid| user(request, jid)).collect::<Vec<_>>();
    request.result(vec![NodeBuilder::new("list").children(users).build()])
}

fn user(request: &Request<'_, '_>, jid: Jid) -> Node {
    let target = request.world.book.of(&jid).and_then(|account| account.device(jid.device));
    let Some((Some(bundle), stock)) = target.map(|device| device.bundle()) else {
        let error = NodeBuilder::new("error").attr("code", "406").attr("text", "not-acceptable").build();
        return NodeBuilder::new("user").attr("jid", jid).children([error]).build();
    };
    if let Stock::Low(left) = stock {
        request.world.tell_low(&jid, left);
    }
    bundle_node(jid, bundle)
}

fn bundle_node(jid: Jid, bundle: PeerBundle) -> Node {
    let signed = bundle.signed_prekey;
    PreKeyBundleUserNode {
        jid,
        registration_id: bundle.registration_id,
        identity_key: bundle.identity.to_vec(),
        signed_pre_key: SignedPreKeyNode::new(signed.id, signed.public.to_vec(), signed.signature),
        one_time_pre_key: bundle.prekey.map(|k| OneTimePreKeyNode::new(k.id, k.public.to_vec())),
        device_identity: bundle.device_identity,
    }
    .into_node()
}

fn digest(request: &Request<'_, '_>) -> Node {
    let Some(device) = request.from.device() else { return request.error(404, "item-not-found") };
    let keys = lock(&device.keys);
    let Some(signed) = &keys.signed else { return request.error(404, "item-not-found") };
    let publics: Vec<&[u8]> = keys.one_time.iter().map(|k| k.public.as_slice()).collect();
    let hash = compute_key_bundle_digest(&device.identity, &signed.public, &signed.signature, &publics);
    let ids = keys.one_time.iter().map(|k| NodeBuilder::new("id").bytes(id_bytes(k.id)).build());
    let signed = SignedPreKeyNode::new(signed.id, signed.public.to_vec(), signed.signature.clone());
    let digest = NodeBuilder::new("digest").children([
        NodeBuilder::new("registration").bytes(keys.registration_id.to_be_bytes()).build(),
        NodeBuilder::new("type").bytes([5u8]).build(),
        NodeBuilder::new("identity").bytes(device.identity).build(),
        signed.into_node(),
        NodeBuilder::new("list").children(ids).build(),
        NodeBuilder::new("hash").bytes(hash).build(),
    ]);
    request.result(vec![digest.build()])
}

fn id_bytes(id: u32) -> Vec<u8> {
    let [_, high, middle, low] = id.to_be_bytes();
    vec![high, middle, low]
}

fn rotate(request: &Request<'_, '_>) -> Node {
    let signed = request.body.and_then(|b| b.get_optional_child("skey")).and_then(signed_key);
    let (Some(signed), Some(device)) = (signed, request.from.device()) else {
        return request.error(400, "bad-request");
    };
    lock(&device.keys).signed = Some(signed);
    request.from.account.touch();
    request.result(Vec::new())
}

fn upload(request: &Request<'_, '_>) -> Node {
    let Some(device) = request.from.device() else { return request.error(404, "item-not-found") };
    let identity = child_bytes(request.iq, "identity");
    if !identity.is_empty() && identity != device.identity {
        // Peers verify the identity the phone signed; another one would only break their sessions later.
        return request.error(409, "conflict");
    }
    let Some(signed) = request.iq.get_optional_child("skey").and_then(signed_key) else {
        return request.error(400, "bad-request");
    };
    let list = request.iq.get_optional_child("list").and_then(NodeRef::children).unwrap_or_default();
    {
        let mut keys = lock(&device.keys);
        keys.registration_id = number(child_bytes(request.iq, "registration"));
        keys.signed = Some(signed);
        keys.add(list.iter().filter_map(one_time_key), request.world.config.limits.prekeys);
    }
    request.from.account.touch();
    request.result(Vec::new())
}

fn signed_key(node: &NodeRef<'_>) -> Option<SignedPreKey> {
    let public = <[u8; 32]>::try_from(child_bytes(node, "value")).ok()?;
    let signature = child_bytes(node, "signature").to_vec();
    let id = number(child_bytes(node, "id"));
    (signature.len() == 64).then_some(SignedPreKey { id, public, signature })
}

fn one_time_key(node: &NodeRef<'_>) -> Option<OneTimePreKey> {
    let public = <[u8; 32]>::try_from(child_bytes(node, "value")).ok()?;
    Some(OneTimePreKey { id: number(child_bytes(node, "id")), public })
}
