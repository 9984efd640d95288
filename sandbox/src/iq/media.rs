//! `w:m`: where media would be uploaded. The sandbox names itself; it carries no media yet, and a client that tries gets
//! an HTTP error from its own server rather than a connection to a stranger.

use whatsapp_rust::wacore_binary::Node;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::Request;

pub(super) fn handle(request: &Request<'_, '_>) -> Node {
    let host = request.world.config.listen.to_string();
    let host = NodeBuilder::new("host")
        .attr("hostname", host)
        .attr("type", "primary")
        .children([NodeBuilder::new("upload").build(), NodeBuilder::new("download").build()]);
    let answer = NodeBuilder::new("media_conn")
        .attr("auth", "recado-sandbox")
        .attr("ttl", "21600")
        .attr("auth_ttl", "21600")
        .attr("max_buckets", "12")
        .children([host.build()]);
    request.result(vec![answer.build()])
}
