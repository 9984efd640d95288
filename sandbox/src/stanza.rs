//! Reading and writing stanzas. PROMISES: [`decode`] is pure over bytes and panics on no input; the builders here make
//! the shapes that many places need.

use std::borrow::Cow;

use bytes::BytesMut;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{CompactString, Jid, Node, NodeRef, OwnedNodeRef, Server, util};

/// The bytes are not a stanza.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed stanza: {0}")]
pub struct Malformed(String);

/// Reads one decrypted frame: a flag byte, then binary XML, compressed if the flag says so.
///
/// # Errors
/// Anything that is not exactly one well-formed node.
pub fn decode(plain: BytesMut) -> Result<OwnedNodeRef, Malformed> {
    let bytes = util::unpack_bytes(plain).map_err(|e| Malformed(e.to_string()))?;
    OwnedNodeRef::new(bytes).map_err(|e| Malformed(e.to_string()))
}

/// Reading a node without caring how its values were encoded.
pub(crate) trait Read {
    fn text<'a>(&'a self, name: &str) -> Option<Cow<'a, str>>;
    fn jid(&self, name: &str) -> Option<Jid>;
    /// The text of an attribute, empty when absent.
    fn word<'a>(&'a self, name: &str) -> Cow<'a, str> {
        self.text(name).unwrap_or_default()
    }
}

impl Read for NodeRef<'_> {
    fn text<'a>(&'a self, name: &str) -> Option<Cow<'a, str>> {
        self.get_attr(name).map(|v| v.as_str())
    }

    fn jid(&self, name: &str) -> Option<Jid> {
        self.get_attr(name).and_then(|v| v.to_jid())
    }
}

/// Bytes of a child's content, empty when absent.
pub(crate) fn child_bytes<'a>(node: &'a NodeRef<'_>, tag: &str) -> &'a [u8] {
    node.get_optional_child(tag).and_then(|c| c.content_bytes()).unwrap_or_default()
}

/// A big-endian number of at most four bytes.
pub(crate) fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
}

/// The first child, which in an `iq` names the request.
pub(crate) fn first_child<'a, 'b>(node: &'a NodeRef<'b>) -> Option<&'a NodeRef<'b>> {
    node.children().and_then(<[_]>::first)
}

/// The server itself, as it appears in `from`.
pub(crate) fn server() -> Jid {
    Jid::new("", Server::Pn)
}

/// An `iq` result with these children.
pub(crate) fn result(request: &NodeRef<'_>, children: Vec<Node>) -> Node {
    let iq = NodeBuilder::new("iq")
        .attr("from", server())
        .attr("type", "result")
        .attr("id", CompactString::from(request.word("id")));
    if children.is_empty() { iq.build() } else { iq.children(children).build() }
}

/// An `iq` error.
pub(crate) fn error(request: &NodeRef<'_>, code: u16, text: &'static str) -> Node {
    NodeBuilder::new("iq")
        .attr("from", server())
        .attr("type", "error")
        .attr("id", CompactString::from(request.word("id")))
        .children([NodeBuilder::new("error").attr("code", code.to_string()).attr("text", text).build()])
        .build()
}

/// `<stream:error>` with a code.
pub(crate) fn stream_error(code: &'static str) -> Node {
    NodeBuilder::new("stream:error").attr("code", code).build()
}

/// `<stream:error><conflict type=…/>`; another client of the same device, or the device is no longer linked.
pub(crate) fn conflict(kind: &'static str) -> Node {
    let code = if kind == "device_removed" { "401" } else { "409" };
    NodeBuilder::new("stream:error")
        .attr("code", code)
        .children([NodeBuilder::new("conflict").attr("type", kind).build()])
        .build()
}

/// A notification of the server.
pub(crate) fn notification(kind: &'static str, from: Jid, id: &str) -> NodeBuilder {
    NodeBuilder::new("notification")
        .attr("type", kind)
        .attr("from", from)
        .attr("id", id)
        .attr("t", crate::clock::now_secs().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use whatsapp_rust::wacore_binary::marshal::marshal;

    #[test]
    fn what_was_written_is_read_back() {
        let node = conflict("replaced");
        let bytes = marshal(&node).unwrap();
        let read = decode(BytesMut::from(&bytes[..])).unwrap();
        assert_eq!(read.to_owned_node().tag, "stream:error");
        assert!(read.get_optional_child("conflict").is_some());
    }

    #[test]
    fn no_prefix_and_no_flipped_byte_panics() {
        let bytes = marshal(&conflict("device_removed")).unwrap();
        for end in 0..bytes.len() {
            decode(BytesMut::from(&bytes[..end])).err();
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut broken = BytesMut::from(&bytes[..]);
                broken[at] ^= 1 << bit;
                decode(broken).ok();
            }
        }
    }
}
