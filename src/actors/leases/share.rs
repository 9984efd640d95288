//! Which shards this node should take, and which it should give away.
//!
//! Promises: nodes that see the same come to shares that add up to all shards, so that nothing is given away that
//! nobody lacks, and nothing moves when everybody has their share.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::watch::Watch;
use crate::domain::ids::Shard;
use crate::domain::time::{Timestamp, now};

/// What to do next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Free shards to take, each with the `at` that its lease is to be asked for with.
    pub(super) take: Vec<(Shard, Timestamp)>,
    /// Shards to give away, once drained.
    pub(super) give: Vec<Shard>,
}

/// Who asks, and what it has.
pub(super) struct Me<'a> {
    /// The node.
    pub(super) node: &'a str,
    /// Whether it owns shards at all.
    pub(super) owns: bool,
    /// What it holds and keeps.
    pub(super) held: &'a BTreeSet<Shard>,
    /// What it holds and is letting go of.
    pub(super) leaving: &'a BTreeSet<Shard>,
}

/// Compares what a node has with its share.
pub(super) fn plan(watch: &Watch, me: &Me<'_>, shards: u16, ttl: Duration) -> Plan {
    let at = Instant::now();
    let share = share(watch, me, usize::from(shards), at, ttl);
    if me.held.len() > share {
        let give = me.held.iter().rev().take(me.held.len() - share).copied().collect();
        return Plan { give, take: Vec::new() };
    }
    let take = free(watch, me, shards, at, ttl);
    Plan { take: take.take(share - me.held.len()).collect(), give: Vec::new() }
}

/// How many shards are this node's.
fn share(watch: &Watch, me: &Me<'_>, shards: usize, at: Instant, ttl: Duration) -> usize {
    if !me.owns {
        return 0;
    }
    let mut owners: BTreeSet<_> = watch.owners(at, ttl).into_iter().collect();
    owners.insert(me.node);
    let place = owners.iter().position(|node| *node == me.node).unwrap_or_default();
    shards / owners.len() + usize::from(place < shards % owners.len())
}

/// The shards that can be had now.
fn free<'a>(
    watch: &'a Watch,
    me: &'a Me<'a>,
    shards: u16,
    at: Instant,
    ttl: Duration,
) -> impl Iterator<Item = (Shard, Timestamp)> + 'a {
    let wanted = (0..shards).map(Shard);
    wanted.filter(|shard| !me.held.contains(shard) && !me.leaving.contains(shard)).filter_map(move |shard| {
        let lease = watch.cluster().leases.iter().find(|lease| lease.shard == shard);
        match lease {
            None => Some((shard, now())),
            Some(lease) if lease.node.as_deref() == Some(me.node) => Some((shard, now())),
            Some(lease) => watch.is_free(lease, at, ttl).then_some((shard, lease.expires_at)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::watch::tests::{lease, node};
    use super::*;
    use crate::domain::cluster::Cluster;

    const TTL: Duration = Duration::from_secs(15);

    fn set(shards: &[u16]) -> BTreeSet<Shard> {
        shards.iter().copied().map(Shard).collect()
    }

    fn of(watch: &Watch, node: &str, held: &[u16], leaving: &[u16]) -> Plan {
        let me = Me { node, owns: true, held: &set(held), leaving: &set(leaving) };
        plan(watch, &me, 5, TTL)
    }

    fn taken(plan: &Plan) -> Vec<u16> {
        plan.take.iter().map(|(shard, _)| shard.0).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_node_takes_all_and_gives_its_excess_to_the_next() {
        let mut watch = Watch::default();
        watch.see(Cluster { nodes: vec![node("a", 1)], leases: vec![] }, Instant::now());
        assert_eq!(taken(&of(&watch, "a", &[], &[])), [0, 1, 2, 3, 4]);
        let leases = (0..5).map(|shard| lease(shard, Some("a"), 7)).collect();
        watch.see(Cluster { nodes: vec![node("a", 1), node("b", 1)], leases }, Instant::now());
        assert_eq!(of(&watch, "a", &[0, 1, 2, 3, 4], &[]).give, [Shard(4), Shard(3)]);
        assert_eq!(of(&watch, "a", &[0, 1, 2], &[3, 4]), Plan::default());
        assert_eq!(of(&watch, "b", &[], &[]), Plan::default(), "nothing is free yet");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_dead_node_held_is_shared_among_the_others() {
        let mut watch = Watch::default();
        let look = |beat| Cluster {
            nodes: vec![node("a", beat), node("b", beat), node("dead", 1)],
            leases: vec![
                lease(0, Some("a"), beat),
                lease(1, Some("b"), beat),
                lease(2, Some("dead"), 1),
                lease(3, Some("dead"), 1),
                lease(4, None, 0),
            ],
        };
        watch.see(look(1), Instant::now());
        assert_eq!(taken(&of(&watch, "a", &[0], &[])), [4], "2 of 5 are the share of one of three");
        tokio::time::advance(TTL).await;
        watch.see(look(2), Instant::now());
        let plan = of(&watch, "a", &[0], &[]);
        assert_eq!(taken(&plan), [2, 3]);
        assert_eq!(plan.take[0].1, Timestamp(1), "a renewal at the last moment prevents it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_for_clients_only_takes_nothing() {
        let mut watch = Watch::default();
        watch.see(Cluster::default(), Instant::now());
        let me = Me { node: "api", owns: false, held: &set(&[]), leaving: &set(&[]) };
        assert_eq!(plan(&watch, &me, 5, TTL), Plan::default());
    }
}
