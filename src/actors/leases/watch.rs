//! Which nodes live and which leases are abandoned, measured with this node's own clock.
//!
//! Promises: no clock of another node, and no wall clock at all, decides anything. What changes lives; what has stood
//! still for long enough, while this node watched, is gone.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::cluster::{Cluster, LeaseView};
use crate::domain::ids::{Epoch, Shard};
use crate::domain::time::Timestamp;

/// What was seen, and since when it is so.
#[derive(Default)]
pub(super) struct Watch {
    cluster: Cluster,
    nodes: HashMap<String, (Timestamp, Instant)>,
    leases: HashMap<Shard, (Stamp, Instant)>,
}

/// What changes when a lease is taken, renewed or given back.
type Stamp = (Option<String>, Epoch, Timestamp);

impl Watch {
    /// Takes in how it is now.
    pub(super) fn see(&mut self, cluster: Cluster, now: Instant) {
        self.nodes = since(&mut self.nodes, now, &cluster.nodes, |node| (node.node.clone(), node.seen_at));
        self.leases = since(&mut self.leases, now, &cluster.leases, |lease| {
            (lease.shard, (lease.node.clone(), lease.epoch, lease.expires_at))
        });
        self.cluster = cluster;
    }

    /// The last look.
    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The nodes that own shards and have stirred within `ttl`, in order.
    pub(super) fn owners(&self, now: Instant, ttl: Duration) -> Vec<&str> {
        let lives = |node: &str| self.nodes.get(node).is_some_and(|(_, since)| now - *since < ttl);
        let owners = self.cluster.nodes.iter().filter(|node| node.roles.owns() && lives(&node.node));
        owners.map(|node| node.node.as_str()).collect()
    }

    /// Whether nobody holds this lease: given back, or not renewed for `ttl`.
    pub(super) fn is_free(&self, lease: &LeaseView, now: Instant, ttl: Duration) -> bool {
        let still = || self.leases.get(&lease.shard).is_some_and(|(_, since)| now - *since >= ttl);
        lease.node.is_none() || still()
    }
}

/// Since when each thing is as it is.
fn since<T, K: Eq + std::hash::Hash, V: PartialEq>(
    known: &mut HashMap<K, (V, Instant)>,
    now: Instant,
    seen: &[T],
    stamp: impl Fn(&T) -> (K, V),
) -> HashMap<K, (V, Instant)> {
    let entry = |thing: &T| {
        let (key, value) = stamp(thing);
        let kept = known.remove(&key).filter(|(old, _)| *old == value);
        (key, kept.unwrap_or((value, now)))
    };
    seen.iter().map(entry).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::cluster::NodeView;

    const TTL: Duration = Duration::from_secs(15);

    pub(in crate::actors::leases) fn node(name: &str, seen: i64) -> NodeView {
        NodeView {
            node: name.into(),
            address: format!("http://{name}"),
            roles: Default::default(),
            version: String::new(),
            started_at: Timestamp(0),
            seen_at: Timestamp(seen),
        }
    }

    pub(in crate::actors::leases) fn lease(shard: u16, node: Option<&str>, expires: i64) -> LeaseView {
        LeaseView {
            shard: Shard(shard),
            node: node.map(Into::into),
            address: String::new(),
            epoch: Epoch(1),
            expires_at: Timestamp(expires),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_stands_still_is_gone_whatever_any_clock_says() {
        let mut watch = Watch::default();
        let start = Instant::now();
        // b's clock is an hour behind and goes back; it lives all the same.
        let look = |seen_a, seen_b, expires| Cluster {
            nodes: vec![node("a", seen_a), node("b", seen_b)],
            leases: vec![lease(0, Some("a"), expires), lease(1, None, 0)],
        };
        watch.see(look(5_000_000, 1_000, 9), start);
        assert_eq!(watch.owners(start, TTL), ["a", "b"]);
        assert!(!watch.is_free(&lease(0, Some("a"), 9), start, TTL), "nobody has watched it yet");
        assert!(watch.is_free(&lease(1, None, 0), start, TTL));
        let later = start + Duration::from_secs(10);
        watch.see(look(5_000_000, 999, 9), later);
        let end = start + TTL;
        watch.see(look(5_000_000, 999, 9), end);
        assert_eq!(watch.owners(end, TTL), ["b"]);
        assert!(watch.is_free(&lease(0, Some("a"), 9), end, TTL));
        watch.see(look(5_000_000, 999, 10), end);
        assert!(!watch.is_free(&lease(0, Some("a"), 10), end, TTL), "renewed at the last moment");
    }
}
