//! `md` of a linked device: it takes itself, or a sibling, off the account.

use super::Request;
use crate::account::mailbox::Outgoing;
use crate::linking::unlink;
use crate::stanza::{Read as _, conflict};

pub(super) fn handle(request: &Request<'_, '_>) {
    let Some(body) = request.body.filter(|b| b.tag == "remove-companion-device") else {
        request.from.answer(request.result(Vec::new()));
        return;
    };
    let account = &request.from.account;
    let own = |jid: &whatsapp_rust::wacore_binary::Jid| {
        request.world.book.of(jid).is_some_and(|a| std::sync::Arc::ptr_eq(&a, account))
    };
    let Some(jid) = body.jid("jid").filter(own) else {
        request.from.answer(request.error(403, "forbidden"));
        return;
    };
    // Afterwards the device is unknown, so the mailbox is held on to for the last words.
    let Some(asker) = request.from.device() else { return };
    match unlink::forget(request.world, account, jid.device) {
        Ok(gone) => {
            asker.mailbox.say(request.result(Vec::new()));
            gone.mailbox.say(conflict("device_removed"));
            gone.mailbox.tell(Outgoing::Close);
        }
        Err(_) => asker.mailbox.say(request.error(404, "item-not-found")),
    }
}
