//! From the phone's signature to a linked device: `pair-success`, the companion's signature, 515.

use std::sync::Arc;

use tokio::sync::watch;
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Jid, Node, NodeRef, Server};
use whatsapp_rust::waproto::whatsapp::ClientPairingProps;

use super::candidate::{Candidate, Offer, Outcome};
use super::{ANSWER, Linked, unlink};
use crate::account::device::Device;
use crate::account::mailbox::Outgoing;
use crate::account::{Account, lock};
use crate::clock::now_secs;
use crate::error::{Code, Result, SandboxError};
use crate::phone::LinkOffer;
use crate::stanza::{child_bytes, notification, server, stream_error};
use crate::world::World;

/// Sends the phone's offer to the companion.
pub(crate) fn send(
    world: &World,
    candidate: &Candidate,
    account: &Arc<Account>,
    offer: LinkOffer,
) -> Result<()> {
    let device = offer.device;
    let open = Offer { account: Arc::clone(account), device, identity: offer.companion_identity };
    if !candidate.offer(open) {
        account.handset().abandon_link(device);
        return Err(SandboxError::new(Code::Conflict, "the client is being linked already"));
    }
    candidate.mailbox.say(pair_success(world, account, offer));
    Ok(())
}

fn pair_success(world: &World, account: &Account, offer: LinkOffer) -> Node {
    let props = ClientPairingProps { is_chat_db_lid_migrated: Some(true), ..Default::default() };
    NodeBuilder::new("iq")
        .attr("from", server())
        .attr("type", "set")
        .attr("id", world.next_id())
        .attr("xmlns", "md")
        .children([NodeBuilder::new("pair-success")
            .children([
                NodeBuilder::new("device-identity").bytes(offer.container).build(),
                NodeBuilder::new("device")
                    .attr("jid", account.jid(Server::Pn, offer.device))
                    .attr("lid", account.jid(Server::Lid, offer.device))
                    .build(),
                NodeBuilder::new("platform").attr("name", "android").build(),
                NodeBuilder::new("client-props").bytes(props.encode_to_vec()).build(),
            ])
            .build()])
        .build()
}

/// Waits for the end of a linking.
pub(crate) async fn outcome(mut seen: watch::Receiver<Outcome>, candidate: &Candidate) -> Result<Linked> {
    let ended = tokio::time::timeout(ANSWER, seen.wait_for(Option::is_some)).await;
    if let Ok(Ok(outcome)) = ended {
        return outcome.clone().unwrap_or_else(|| Err(SandboxError::bug("no outcome")));
    }
    if let Some(offer) = candidate.take_offer() {
        offer.account.handset().abandon_link(offer.device);
    }
    Err(SandboxError::new(Code::Unavailable, "the client did not answer in time"))
}

/// The companion's answer to `pair-success`. Anything else it answers is of no interest.
pub(crate) fn answered(world: &World, candidate: &Arc<Candidate>, iq: &NodeRef<'_>) {
    let signed = iq.get_optional_child("pair-device-sign");
    let refused = iq.get_attr("type").is_some_and(|t| t.as_str() == "error") && candidate.has_offer();
    if signed.is_none() && !refused {
        return;
    }
    let Some(offer) = candidate.take_offer() else { return };
    let outcome = match signed {
        Some(signed) => complete(world, candidate, &offer, child_bytes(signed, "device-identity")),
        None => Err(SandboxError::new(Code::Conflict, "the client refused the phone's signature")),
    };
    if outcome.is_err() {
        offer.account.handset().abandon_link(offer.device);
    } else {
        candidate.mailbox.say(stream_error("515"));
    }
    candidate.mailbox.tell(Outgoing::Close);
    candidate.finish(outcome);
}

fn complete(world: &World, candidate: &Arc<Candidate>, offer: &Offer, blob: &[u8]) -> Result<Linked> {
    let account = &offer.account;
    account
        .handset()
        .complete_link(offer.device, blob, now_secs())
        .map_err(|e| SandboxError::invalid(format!("the client's signature is wrong: {e}")))?;
    if let Some((before, device)) = world.book.by_noise(&candidate.noise) {
        // The same client again: it is the new device from now on.
        unlink::forget(world, &before, device).ok();
    }
    let device = Device {
        noise: Some(candidate.noise),
        device_identity: Some(blob.to_vec()),
        ..Device::new(offer.device, offer.identity, &world.config.limits)
    };
    if let Some(keys) = &candidate.keys {
        *lock(&device.keys) = keys.clone();
    }
    account.add_device(Arc::new(device))?;
    world.book.add_noise(candidate.noise, account, offer.device);
    world.stats.linked.add(1);
    tell_siblings(world, account, offer.device);
    Ok(Linked { phone: account.phone.clone(), lid: account.lid.clone(), device_id: offer.device })
}

/// Tells the other companions about a new one.
fn tell_siblings(world: &World, account: &Account, new: u16) {
    let list = account.device_list();
    let index = list.devices.iter().find(|(id, _)| *id == new).map_or(0, |(_, index)| *index);
    let from = account.jid(Server::Pn, 0);
    let lid = account.jid(Server::Lid, 0);
    world.notify_companions(account, new, |id| {
        let device = device_node(account.jid(Server::Pn, new), account.jid(Server::Lid, new), index);
        notification("devices", from.clone(), id)
            .attr("lid", lid.clone())
            .children([NodeBuilder::new("add")
                .attr("device_hash", list.hash.clone())
                .children([device, key_index_list(list.timestamp, Some(list.signed.clone()))])
                .build()])
            .build()
    });
}

pub(crate) fn device_node(jid: Jid, lid: Jid, index: u32) -> Node {
    NodeBuilder::new("device").attr("jid", jid).attr("key-index", index).attr("lid", lid).build()
}

pub(crate) fn key_index_list(timestamp: u64, signed: Option<Vec<u8>>) -> Node {
    let node = NodeBuilder::new("key-index-list").attr("ts", timestamp.to_string());
    match signed {
        Some(bytes) => node.bytes(bytes).build(),
        None => node.build(),
    }
}
