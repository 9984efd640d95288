//! A message: a state machine that only moves forward.
//!
//! ```text
//! queued 0 → sending 1 → sent 2 → delivered 3 → read 4 → played 5        failed(code, reason) ends it
//! ```
//! `sent` means that WhatsApp's server acknowledged it. Acks and receipts may come late, twice or out of order:
//! [`MessageState::advance`] takes only what moves the message up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::Error;

/// Where a message stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// Accepted and durable.
    Queued,
    /// Handed to a link.
    Sending,
    /// WhatsApp's server has it.
    Sent,
    /// A device of the recipient has it.
    Delivered,
    /// Read.
    Read,
    /// Played (voice, video).
    Played,
    /// Given up on, for a stated reason.
    Failed,
}

impl MessageState {
    /// Every state, in rank order.
    pub const ALL: [Self; 7] =
        [Self::Queued, Self::Sending, Self::Sent, Self::Delivered, Self::Read, Self::Played, Self::Failed];

    /// Position in the only direction a message moves. `failed` outranks all that is not yet acknowledged.
    #[must_use]
    pub fn rank(self) -> i64 {
        match self {
            Self::Queued => 0,
            Self::Sending => 1,
            Self::Sent => 2,
            Self::Delivered => 3,
            Self::Read => 4,
            Self::Played => 5,
            Self::Failed => 9,
        }
    }

    /// The state after learning `news`, or `None` when that is no news: an older rank, or a message already failed.
    /// Only an unacknowledged message can fail.
    #[must_use]
    pub fn advance(self, news: Self) -> Option<Self> {
        let may = match (self, news) {
            (Self::Failed, _) => false,
            (now, Self::Failed) => now <= Self::Sending,
            (now, news) => news > now,
        };
        may.then_some(news)
    }

    /// The text used in the store, the API and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Played => "played",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for MessageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MessageState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| Error::invalid("state", "unknown_state", "is not a message state"))
    }
}

/// Who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Somebody else.
    In,
    /// This account: through us, or on another of its devices.
    Out,
}

impl Direction {
    /// The text used in the store, the API and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_state() -> impl Strategy<Value = MessageState> {
        (0..MessageState::ALL.len()).prop_map(|i| MessageState::ALL[i])
    }

    proptest! {
        #[test]
        fn news_in_any_order_never_moves_a_message_back(news in prop::collection::vec(any_state(), 0..100)) {
            let mut state = MessageState::Queued;
            for piece in news {
                let before = state;
                state = state.advance(piece).unwrap_or(state);
                prop_assert!(state.rank() >= before.rank());
                if before == MessageState::Failed {
                    prop_assert_eq!(state, MessageState::Failed);
                }
                if before >= MessageState::Sent && before != MessageState::Failed {
                    prop_assert_ne!(state, MessageState::Failed);
                }
            }
        }
    }

    #[test]
    fn every_state_survives_its_text() {
        for state in MessageState::ALL {
            assert_eq!(state.as_str().parse::<MessageState>().unwrap(), state);
        }
    }
}
