//! Who a client is, and whether it gets in. PROMISES: a client is known by its Noise key alone; an unlinked one is told
//! 401; one that was never linked is offered QR references.

use std::sync::Arc;

use tokio::time::Instant;
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Node, Server};
use whatsapp_rust::waproto::whatsapp::ClientPayload;
use whatsapp_rust::waproto::whatsapp::client_payload::DevicePairingRegistrationData;

use super::session::Session;
use super::{Link, Who};
use crate::account::Account;
use crate::account::device::Keys;
use crate::account::mailbox::Mailbox;
use crate::clock::now_secs;
use crate::faults::FaultKind;
use crate::linking::candidate::Candidate;
use crate::linking::qr;
use crate::phone::SignedPreKey;
use crate::route::Sender;
use crate::stanza::number;
use crate::world::World;

/// Lets a client in, or says why not.
pub(super) async fn enter(
    world: &Arc<World>,
    session: Session,
    key: [u8; 32],
    payload: &[u8],
) -> Option<Link> {
    let payload = ClientPayload::decode_from_slice(payload).ok()?;
    let known = world.book.by_noise(&key);
    let (phone, id) = known.as_ref().map_or((None, 0), |(account, id)| (Some(account.phone.as_str()), *id));
    if let Some(fault) = world.faults.hit(FaultKind::RefuseLogin, phone, id) {
        world.stats.faults.add(1);
        return refuse(world, session, fault.code.unwrap_or(503)).await;
    }
    match known {
        Some((account, id)) => device(world, session, account, id).await,
        // A placeholder number says "not linked yet"; any other was linked once.
        None if payload.username.is_some_and(|n| n != 0) && !payload.device_pairing_data.is_set() => {
            refuse(world, session, 401).await
        }
        None => Some(candidate(world, session, key, &payload)),
    }
}

async fn refuse(world: &World, mut session: Session, code: u16) -> Option<Link> {
    world.stats.logins_refused.add(1);
    let mut failure =
        NodeBuilder::new("failure").attr("reason", code.to_string()).attr("location", "sandbox");
    if code == 402 {
        failure = failure.attr("code", "101").attr("expire", "3600");
    }
    if session.send(&failure.build(), false).await.is_ok() {
        session.close().await;
    }
    None
}

async fn device(world: &Arc<World>, mut session: Session, account: Arc<Account>, id: u16) -> Option<Link> {
    let Some(device) = account.device(id) else {
        return refuse(world, session, 401).await;
    };
    session.send(&success(&account, id), false).await.ok()?;
    world.stats.logins.add(1);
    let number = device.mailbox.attach();
    let who = Who::Device(Sender { account, device: id }, device);
    Some(link(world, session, who, number, None))
}

fn success(account: &Account, device: u16) -> Node {
    NodeBuilder::new("success")
        .attr("t", now_secs().to_string())
        .attr("props", "1")
        .attr("companion_enc_static", "")
        .attr("location", "sandbox")
        .attr("lid", account.jid(Server::Lid, device))
        .attr("display_name", account.name.as_str())
        .build()
}

fn candidate(world: &Arc<World>, session: Session, key: [u8; 32], payload: &ClientPayload) -> Link {
    let mailbox = Arc::new(Mailbox::new(&world.config.limits));
    let number = mailbox.attach();
    let registration = payload.device_pairing_data.as_option();
    let keys = registration.and_then(registered_keys);
    // Only a registration names its phone: other clients share one default name.
    let name = payload.push_name.clone().filter(|n| registration.is_some() && !n.trim().is_empty());
    let candidate = Arc::new(Candidate::new(key, mailbox, keys, name));
    candidate.mailbox.say(qr::pair_device(world, &candidate));
    let ends = Instant::now() + world.config.pairing_ttl;
    link(world, session, Who::Candidate(candidate), number, Some(ends))
}

fn registered_keys(data: &DevicePairingRegistrationData) -> Option<Keys> {
    let public = <[u8; 32]>::try_from(data.e_skey_val.as_deref()?).ok()?;
    let signature = data.e_skey_sig.clone().filter(|s| s.len() == 64)?;
    let id = number(data.e_skey_id.as_deref()?);
    Some(Keys {
        registration_id: number(data.e_regid.as_deref()?),
        signed: Some(SignedPreKey { id, public, signature }),
        ..Keys::default()
    })
}

fn link(world: &Arc<World>, session: Session, who: Who, number: u64, ends: Option<Instant>) -> Link {
    Link { world: Arc::clone(world), session, who, number, heard: Instant::now(), pinged: false, ends }
}
