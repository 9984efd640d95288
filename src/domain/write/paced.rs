//! Taking commands where sends are paced.
//!
//! A message that may not go yet for a reason of its own (it begins a chat) is *held*: its command is taken, itself is
//! still `queued`, and nothing looks at it again until it is released. When no message may go, nothing is taken.

use super::{Take, Taken};
use crate::domain::ids::{Fence, SessionId};
use crate::domain::pacing::{Refusal, Rules, Wait};
use crate::domain::time::Timestamp;

/// See [`Write::TakePaced`](super::Write::TakePaced).
#[derive(Clone, Debug)]
pub struct TakePaced {
    /// What to take, as without pacing.
    pub take: Take,
    /// What may go.
    pub rules: Rules,
    /// Whether messages are held: then a later one of the same chat must not go before them.
    pub holds: bool,
    /// What to look at again first.
    pub release: Release,
}

impl TakePaced {
    /// The most commands looked at in one write.
    pub const LOOK: usize = 64;
}

/// Held messages to look at again.
#[derive(Clone, Debug, Default)]
pub struct Release {
    /// The oldest, at most this many.
    pub oldest: usize,
    /// Those of the chats known by these addresses: somebody wrote there.
    pub chats: Vec<String>,
}

/// What a paced take answers.
#[derive(Clone, Debug, Default)]
pub struct Paced {
    /// Commands in order.
    pub taken: Vec<Taken>,
    /// What every message waits for, if that ended the take.
    pub waits: Option<Wait>,
    /// What the messages wait for that were held now.
    pub held: Option<Wait>,
    /// How many were held.
    pub holds: usize,
    /// How many of the oldest were released.
    pub released: usize,
    /// Whether there may be more to look at now.
    pub more: bool,
}

/// See [`Write::Refused`](super::Write::Refused).
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// The owner's right.
    pub fence: Fence,
    /// Whose message.
    pub session: SessionId,
    /// What was refused.
    pub refusal: Refusal,
    /// How long it rests.
    pub rules: Rules,
    /// When.
    pub at: Timestamp,
}
