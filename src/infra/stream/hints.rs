//! Wake-ups between nodes: "a shard of yours has something to number".
//!
//! Promises: nothing. A hint may be lost, late or repeated; a poll stands behind each, so that losing one costs latency
//! and no data. What is told is not told back to whoever said it, or at least does no harm there.

use async_trait::async_trait;

use crate::domain::error::Result;
use crate::domain::ids::Shard;

/// The way to the other nodes.
#[async_trait]
pub trait Hints: Send + Sync + 'static {
    /// Tells whoever owns these shards.
    async fn tell(&self, shards: &[Shard]) -> Result<()>;
    /// Hears what others tell from now on.
    async fn listen(&self) -> Result<Box<dyn Heard>>;
}

/// What others tell.
#[async_trait]
pub trait Heard: Send {
    /// Waits for the next hint; an error ends the listening.
    async fn next(&mut self) -> Result<Vec<Shard>>;
}

/// No other node: nobody to tell, nothing to hear.
pub struct Alone;

#[async_trait]
impl Hints for Alone {
    async fn tell(&self, _shards: &[Shard]) -> Result<()> {
        Ok(())
    }

    async fn listen(&self) -> Result<Box<dyn Heard>> {
        Ok(Box::new(Self))
    }
}

#[async_trait]
impl Heard for Alone {
    async fn next(&mut self) -> Result<Vec<Shard>> {
        std::future::pending().await
    }
}
