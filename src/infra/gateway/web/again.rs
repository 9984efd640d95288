//! Asking whoever wrote a message to write it again, encrypted anew.
//!
//! What it promises: nothing is acknowledged here; the request is WhatsApp's own for messages that could not be read.

use std::sync::Arc;

use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Jid, JidExt, Node, Server};
use whatsapp_rust::{Client, RetryRequestOptions, RetryRequestOutcome};

use super::backend::Wanted;
use crate::domain::time::now;

/// Sends the request; whether it went out.
pub(super) async fn ask(client: &Arc<Client>, wanted: &Wanted) -> bool {
    let own = [client.pn(), client.lid()];
    let Some(stanza) = stanza(wanted, |sender| own.iter().flatten().any(|own| own.is_same_user_as(sender)))
    else {
        return false;
    };
    let stanza = stanza.as_node_ref();
    match Box::pin(client.request_message_retry(&stanza, RetryRequestOptions::new())).await {
        Ok(RetryRequestOutcome::Sent { .. }) => true,
        Ok(_limited) => false,
        Err(error) => {
            tracing::debug!(%error, "a message was not asked for");
            false
        }
    }
}

/// The message's stanza, as far as the request needs it.
fn stanza(wanted: &Wanted, is_own: impl Fn(&Jid) -> bool) -> Option<Node> {
    let (chat, sender): (Jid, Jid) = (wanted.chat.parse().ok()?, wanted.sender.parse().ok()?);
    let stanza = NodeBuilder::new("message")
        .attr("id", wanted.id.as_str())
        .attr("type", "text")
        .attr("t", (now().0 / 1000).to_string());
    let stanza = if chat.is_group() || chat.server == Server::Broadcast {
        stanza.attr("from", &chat).attr("participant", &sender)
    } else if is_own(&sender) {
        stanza.attr("from", &sender).attr("recipient", &chat)
    } else {
        stanza.attr("from", &sender)
    };
    Some(stanza.build())
}
