//! Requests of linked devices. PROMISES: every request gets exactly one answer; what is not known is answered with an
//! empty result, as a client that waits for it would only hang.

mod app_state;
mod encrypt;
mod group;
mod md;
mod media;
mod passive;
mod settings;
mod tokens;
mod usync;

use whatsapp_rust::wacore_binary::{Node, NodeRef};

use crate::route::Sender;
use crate::stanza::{Read as _, first_child, result};
use crate::world::World;

/// One request.
pub(crate) struct Request<'a, 'b> {
    pub(crate) world: &'a World,
    pub(crate) from: &'a Sender,
    pub(crate) iq: &'a NodeRef<'b>,
    /// The first child, which says what is asked for.
    pub(crate) body: Option<&'a NodeRef<'b>>,
}

impl<'a> Request<'a, '_> {
    pub(crate) fn tag(&self) -> &'a str {
        self.body.map_or("", |b| b.tag.as_ref())
    }

    pub(crate) fn is_set(&self) -> bool {
        self.iq.word("type") == "set"
    }

    pub(crate) fn result(&self, children: Vec<Node>) -> Node {
        result(self.iq, children)
    }

    pub(crate) fn error(&self, code: u16, text: &'static str) -> Node {
        crate::stanza::error(self.iq, code, text)
    }
}

/// Answers one `<iq>` of a linked device.
pub(crate) fn handle(world: &World, from: &Sender, iq: &NodeRef<'_>) {
    if !matches!(iq.word("type").as_ref(), "get" | "set") {
        // An answer to something of ours: a ping.
        return;
    }
    world.stats.iqs.add(1);
    let request = Request { world, from, iq, body: first_child(iq) };
    let xmlns = iq.word("xmlns");
    // These two answer themselves, because more follows the answer.
    match xmlns.as_ref() {
        "passive" => return passive::handle(&request),
        "md" => return md::handle(&request),
        _ => {}
    }
    let answer = match xmlns.as_ref() {
        "encrypt" => encrypt::handle(&request),
        "usync" => usync::handle(&request),
        "w:sync:app:state" => app_state::handle(&request),
        "privacy" if request.body.is_some_and(|b| b.tag == "tokens") => tokens::handle(&request),
        "abt" | "blocklist" | "privacy" | "status" | "disappearing_mode" | "w:profile:picture" | "w:biz" => {
            settings::handle(&request, &xmlns)
        }
        "w:m" => media::handle(&request),
        "w:g2" => group::handle(&request),
        _ => request.result(Vec::new()),
    };
    from.answer(answer);
    if xmlns == "encrypt"
        && let Some(device) = from.device()
    {
        // The phone's welcome waits for the prekeys of a fresh device.
        crate::handset::welcome(world, &from.account, &device);
    }
}
