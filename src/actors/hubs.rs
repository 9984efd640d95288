//! The hubs of all shards, as one.

use std::sync::Arc;

use super::hub::{Hub, Limits};
use crate::domain::ids::Shard;

/// A hub per shard; none where no clients are served.
#[derive(Clone)]
pub struct Hubs(Arc<[Hub]>);

impl Hubs {
    /// Ways to the hubs of this many shards, yet to start.
    #[must_use]
    pub fn new(shards: u16, limits: Limits) -> Self {
        Self((0..shards).map(|shard| Hub::new(Shard(shard), limits)).collect())
    }

    /// All of them, in the order of shards.
    pub fn iter(&self) -> impl Iterator<Item = &Hub> {
        self.0.iter()
    }
}
