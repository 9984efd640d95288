//! What the group `commands` does with each entry of `session-commands`: it wakes the session.
//!
//! The work itself is in the table `commands`; an entry is its durable wake-up. Waking twice does nothing twice.

use async_trait::async_trait;

use super::handler::{Delivery, Failure, Handler};
use super::session::{self, Setup};
use crate::domain::command::CommandType;
use crate::domain::error::Kind;

/// The group's name.
pub const GROUP: &str = "commands";

/// Wakes the session of each delivery.
pub struct WakeSessions {
    /// What a session needs, should it have to be started.
    pub setup: Setup,
}

#[async_trait]
impl Handler for WakeSessions {
    async fn handle(&self, delivery: &Delivery) -> Result<(), Failure> {
        // Commands are of sessions; anything else has nobody to wake.
        let session = delivery.entries.first().and_then(|entry| entry.event.session_id);
        let Some(session) = session else { return Ok(()) };
        let messages = CommandType::SendMessage.as_str();
        let only_messages = delivery.entries.iter().all(|entry| entry.event.kind == messages);
        let work = if only_messages { session::Msg::Queued } else { session::Msg::Wake };
        let start = |fence| session::child(session, fence, &self.setup);
        let woken = self.setup.directory.wake(session, work, start).await;
        woken.map_err(|error| match error.kind {
            Kind::Busy | Kind::Unavailable | Kind::Fenced | Kind::Bug => {
                Failure::Retry { error: error.to_string(), after: None }
            }
            Kind::Invalid | Kind::NotFound | Kind::Conflict | Kind::Unauthorized | Kind::Forbidden => {
                Failure::Permanent { error: error.to_string() }
            }
        })
    }
}
