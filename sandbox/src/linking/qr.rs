//! Linking by QR code: references for the client, and the phone that scans one.

use std::sync::Arc;

use whatsapp_rust::wacore_binary::Node;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::candidate::Candidate;
use super::{Linked, ScanQr, offer};
use crate::clock::now_secs;
use crate::error::{Code, Result, SandboxError};
use crate::noise::identity::hex;
use crate::phone::Qr;
use crate::stanza::server;
use crate::world::World;

/// References per connection; a client shows one after the other.
const REFS: usize = 6;

/// `<pair-device>` with fresh references for a connection.
pub(crate) fn pair_device(world: &World, candidate: &Arc<Candidate>) -> Node {
    let refs: Vec<String> = (0..REFS)
        .map(|_| {
            let random: [u8; 32] = rand::random();
            format!("2@{}", hex(&random))
        })
        .collect();
    world.pairing.add_refs(&refs, candidate);
    let nodes = refs.into_iter().map(|r| NodeBuilder::new("ref").bytes(r.into_bytes()).build());
    NodeBuilder::new("iq")
        .attr("from", server())
        .attr("type", "set")
        .attr("id", world.next_id())
        .attr("xmlns", "md")
        .children([NodeBuilder::new("pair-device").children(nodes).build()])
        .build()
}

/// A phone scans what a client shows.
pub(crate) async fn scan(world: &Arc<World>, text: &str, by: &ScanQr) -> Result<Linked> {
    let qr: Qr =
        text.trim().parse().map_err(|e| SandboxError::invalid(format!("not a linking QR code: {e}")))?;
    let candidate = world.pairing.by_ref(&qr.reference);
    let candidate =
        candidate.ok_or_else(|| SandboxError::not_found("the QR code is not, or no longer, valid"))?;
    if candidate.noise != qr.noise {
        return Err(SandboxError::invalid("the QR code belongs to another connection"));
    }
    let name = by.name.as_deref().or(candidate.name.as_deref());
    let account = world.account_or_new(by.phone.as_deref(), name)?;
    account.check_room(&world.config.limits)?;
    if candidate.has_offer() {
        return Err(SandboxError::new(Code::Conflict, "the client is being linked already"));
    }
    let seen = candidate.outcome();
    let signed = account.handset().link_by_qr(&qr, now_secs());
    let signed = signed.map_err(|e| SandboxError::invalid(e.to_string()))?;
    offer::send(world, &candidate, &account, signed)?;
    offer::outcome(seen, &candidate).await
}
