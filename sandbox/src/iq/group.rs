//! `w:g2`: groups. Nobody is in one here: lists are empty, and what names a group is not found.

use whatsapp_rust::wacore_binary::Node;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::Request;

pub(super) fn handle(request: &Request<'_, '_>) -> Node {
    if request.tag() == "participating" {
        return request.result(vec![NodeBuilder::new("groups").build()]);
    }
    request.error(404, "item-not-found")
}
