//! `passive`: a client that says `active` gets its offline queue: the answer, a preview, the queue, and its end.

use whatsapp_rust::wacore_binary::Node;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::Request;
use crate::account::mailbox::Waiting;
use crate::handset;
use crate::stanza::server;

pub(super) fn handle(request: &Request<'_, '_>) {
    request.from.answer(request.result(Vec::new()));
    if request.tag() != "active" {
        return;
    }
    let Some(device) = request.from.device() else { return };
    let Some(waiting) = device.mailbox.go_live() else { return };
    // The link that is served here is also the one that writes, so nothing of the queue is out before this.
    if waiting.total() > 0 {
        device.mailbox.say(preview(waiting));
    }
    handset::welcome(request.world, &request.from.account, &device);
}

fn preview(waiting: Waiting) -> Node {
    let preview = NodeBuilder::new("offline_preview")
        .attr("count", waiting.total().to_string())
        .attr("message", waiting.messages.to_string())
        .attr("receipt", waiting.receipts.to_string())
        .attr("notification", waiting.notifications.to_string())
        .attr("appdata", "0");
    NodeBuilder::new("ib").attr("from", server()).children([preview.build()]).build()
}
