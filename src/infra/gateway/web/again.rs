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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_goes_to_the_device_that_wrote_in_the_place_where_it_wrote() {
        let place = |chat: &str, sender: &str| {
            let wanted = Wanted { chat: chat.to_owned(), sender: sender.to_owned(), id: "3EB0".to_owned() };
            let node = stanza(&wanted, |sender| sender.user == "15550100100").unwrap();
            ["from", "participant", "recipient"]
                .map(|name| node.attrs.get(name).map(|value| value.to_string()).unwrap_or_default())
        };
        let (group, other, own) =
            ("120363000000000001@g.us", "15550100199:2@s.whatsapp.net", "15550100100:1@s.whatsapp.net");
        assert_eq!(place("15550100199@s.whatsapp.net", other), [other, "", ""]);
        assert_eq!(place(group, other), [group, other, ""]);
        assert_eq!(place(group, own), [group, own, ""]);
        let person = "15550100199@s.whatsapp.net";
        assert_eq!(place(person, own), [own, "", person], "what the phone wrote itself");
    }
}
