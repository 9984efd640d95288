//! Reading attributes and bytes of a stanza. Promises that a missing or malformed part is `None`, never a panic.

use std::borrow::Cow;

use whatsapp_rust::wacore_binary::{Jid, Node, NodeContent};

/// A text attribute.
pub(super) fn text<'a>(node: &'a Node, key: &str) -> Option<Cow<'a, str>> {
    node.attrs.get(key).map(|value| value.as_str())
}

/// A JID attribute.
pub(super) fn jid(node: &Node, key: &str) -> Option<Jid> {
    node.attrs.get(key).and_then(|value| value.to_jid())
}

/// A number attribute.
pub(super) fn number(node: &Node, key: &str) -> Option<u64> {
    text(node, key).and_then(|value| value.parse().ok())
}

/// The bytes inside a node.
pub(super) fn bytes_of(node: &Node) -> Option<&[u8]> {
    match &node.content {
        Some(NodeContent::Bytes(bytes)) => Some(bytes),
        Some(NodeContent::String(_) | NodeContent::Nodes(_)) | None => None,
    }
}
