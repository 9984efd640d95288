//! Hints between nodes by publish and subscribe.
//!
//! Promises: one connection per listener; a connection that died without a word is noticed, by asking for a sign of life
//! when nothing was heard for a while.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use redis::aio::PubSub;
use tokio::time::timeout;

use super::RedisStream;
use super::failure::{late, lost};
use crate::domain::error::{Error, Result};
use crate::domain::ids::Shard;
use crate::infra::stream::hints::{Heard, Hints};

/// After so long without a hint, the connection has to prove that it lives.
const SILENCE: Duration = Duration::from_secs(15);

/// The longest message that is read: more shards than a cluster has.
const LONGEST: usize = 8192;

#[async_trait]
impl Hints for RedisStream {
    async fn tell(&self, shards: &[Shard]) -> Result<()> {
        let message: Vec<String> = shards.iter().map(Shard::to_string).collect();
        for some in message.chunks(1000) {
            let mut command = redis::cmd("PUBLISH");
            self.command(command.arg(self.settings.hints()).arg(some.join(","))).await?;
        }
        Ok(())
    }

    async fn listen(&self) -> Result<Box<dyn Heard>> {
        let (deadline, channel) = (self.settings.deadline, self.settings.hints());
        let connected = async {
            let mut listener = self.client.get_async_pubsub().await?;
            listener.subscribe(channel).await?;
            Ok(listener)
        };
        let listener = timeout(deadline, connected).await.map_err(late)?.map_err(|error| lost(&error))?;
        Ok(Box::new(Ear { listener, deadline }))
    }
}

struct Ear {
    listener: PubSub,
    deadline: Duration,
}

#[async_trait]
impl Heard for Ear {
    async fn next(&mut self) -> Result<Vec<Shard>> {
        loop {
            let heard = timeout(SILENCE, async { self.listener.on_message().next().await }).await;
            match heard {
                Ok(Some(message)) => return Ok(shards(message.get_payload_bytes())),
                Ok(None) => {
                    return Err(Error::unavailable("hints_lost", "the listener's connection is lost"));
                }
                Err(_silence) => {
                    let sign = timeout(self.deadline, self.listener.ping::<redis::Value>()).await;
                    sign.map_err(late)?.map_err(|error| lost(&error))?;
                }
            }
        }
    }
}

/// What a message names; what is no shard is nobody's.
fn shards(message: &[u8]) -> Vec<Shard> {
    let text = message.get(..message.len().min(LONGEST)).map(String::from_utf8_lossy).unwrap_or_default();
    text.split(',').filter_map(|shard| shard.parse().ok().map(Shard)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_from_anybody_does_no_harm() {
        assert_eq!(shards(b"1,2,65535"), [Shard(1), Shard(2), Shard(65_535)]);
        assert_eq!(shards(b"x,,-1,65536,7"), [Shard(7)]);
        assert!(shards(&[0xff; 100_000]).is_empty());
    }
}
