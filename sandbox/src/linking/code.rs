//! Linking by pairing code. The server carries sealed keys between companion and phone and never learns the code.

use std::sync::Arc;

use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Node, NodeRef};

use super::candidate::{Candidate, CodeHello};
use super::{Linked, offer, phone_number};
use crate::clock::now_secs;
use crate::error::{Code, Result, SandboxError};
use crate::noise::identity::hex;
use crate::phone::{CompanionFinish, PreparedPairCode};
use crate::stanza::{Read as _, child_bytes, error, notification, result, server};
use crate::world::World;

/// Length of the wrapped ephemeral key.
const WRAPPED: usize = 80;

/// `<iq xmlns="md"><link_code_companion_reg stage=…>` of a connection without a device.
pub(crate) fn request(world: &Arc<World>, candidate: &Arc<Candidate>, iq: &NodeRef<'_>, reg: &NodeRef<'_>) {
    let answer = match reg.word("stage").as_ref() {
        "companion_hello" => hello(world, candidate, iq, reg),
        "companion_finish" => return finish(world, candidate, iq, reg),
        _ => error(iq, 400, "bad-request"),
    };
    candidate.mailbox.say(answer);
}

fn hello(world: &World, candidate: &Arc<Candidate>, iq: &NodeRef<'_>, reg: &NodeRef<'_>) -> Node {
    let wrapped = child_bytes(reg, "link_code_pairing_wrapped_companion_ephemeral_pub");
    let Some(Ok(phone)) = reg.jid("jid").map(|jid| phone_number(&jid.user)) else {
        return error(iq, 400, "bad-request");
    };
    if wrapped.len() != WRAPPED {
        return error(iq, 400, "bad-request");
    }
    let random: [u8; 16] = rand::random();
    let reference = format!("2@{}", hex(&random)).into_bytes();
    candidate.set_code(CodeHello { wrapped: wrapped.to_vec(), reference: reference.clone(), account: None });
    world.pairing.add_code(phone, candidate);
    let reference = NodeBuilder::new("link_code_pairing_ref").bytes(reference).build();
    result(
        iq,
        vec![
            NodeBuilder::new("link_code_companion_reg")
                .attr("stage", "companion_hello")
                .children([reference])
                .build(),
        ],
    )
}

/// A phone types the code that a client shows.
pub(crate) async fn enter(world: &Arc<World>, phone: &str, code: &str) -> Result<Linked> {
    let phone = phone_number(phone)?;
    let candidate = world.pairing.by_code(&phone);
    let candidate = candidate.ok_or_else(|| SandboxError::not_found("no client waits for this number"))?;
    let hello = candidate.code().ok_or_else(|| SandboxError::not_found("no client waits for this number"))?;
    let account = world.account_or_new(Some(&phone), None)?;
    account.check_room(&world.config.limits)?;
    let (typed, wrapped, reference) = (code.to_owned(), hello.wrapped.clone(), hello.reference.clone());
    let derive = move || PreparedPairCode::derive(&typed, &wrapped, &reference);
    let prepared = tokio::task::spawn_blocking(derive).await.map_err(SandboxError::bug)?;
    let prepared = prepared.map_err(|e| SandboxError::invalid(e.to_string()))?;
    let seen = candidate.outcome();
    let primary = account.handset().begin_pair_code(prepared);
    candidate.set_code(CodeHello { account: Some(account), ..hello });
    let note = notification("link_code_companion_reg", server(), &world.next_id());
    candidate.mailbox.say(note.children([primary.to_node()]).build());
    offer::outcome(seen, &candidate).await
}

fn finish(world: &World, candidate: &Arc<Candidate>, iq: &NodeRef<'_>, reg: &NodeRef<'_>) {
    let Some(account) = candidate.code().and_then(|hello| hello.account) else {
        candidate.mailbox.say(error(iq, 400, "bad-request"));
        return;
    };
    let sealed = CompanionFinish {
        wrapped_bundle: child_bytes(reg, "link_code_pairing_wrapped_key_bundle"),
        companion_identity: child_bytes(reg, "companion_identity_public"),
        pairing_ref: child_bytes(reg, "link_code_pairing_ref"),
    };
    let signed = account.handset().finish_pair_code(&sealed, now_secs());
    match signed {
        Ok(signed) => {
            candidate.mailbox.say(result(iq, Vec::new()));
            if let Err(refused) = offer::send(world, candidate, &account, signed) {
                candidate.finish(Err(refused));
            }
        }
        Err(wrong) => {
            candidate.mailbox.say(error(iq, 400, "bad-request"));
            let detail = format!("the code was wrong: {wrong}");
            candidate.finish(Err(SandboxError::new(Code::Conflict, detail)));
        }
    }
}
