//! How much a session may send, and when: so that an account does what WhatsApp lets it do, and clients see why
//! something waits.
//!
//! Promises: pure rules over a [`History`] and a moment, with no clock of their own. At most
//! [`Rules::per_minute`] messages within any minute, at most the day's allowance within a day (UTC); an allowance never
//! falls while an account warms up; a message that waits is told a reason and a moment, and waiting alone never makes
//! that moment later. Nothing here promises that WhatsApp restricts nobody.

mod history;
mod rules;
#[cfg(test)]
mod tests;
mod view;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use history::{History, Refusals};
pub use view::{Allowance, CoolDown, PacingView, WarmUp};

use super::time::Timestamp;

/// What is configured. The default limits nothing and forgets refusals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Messages within any minute.
    pub per_minute: Option<u32>,
    /// Messages within a day, once the account is warm.
    pub per_day: Option<u32>,
    /// Chats begun within a day, once the account is warm.
    pub new_chats_per_day: Option<u32>,
    /// Days over which a freshly linked account comes to its full daily allowances; 0 for at once.
    pub warm_up_days: u32,
    /// How long new chats wait after the first refusal with 463; zero for not at all.
    pub cool_down: Duration,
}

/// Why a message waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Reason {
    /// The account is new: its allowance grows by day.
    #[serde(rename = "paced_warm_up")]
    WarmUp,
    /// As many chats were begun today as may be.
    #[serde(rename = "paced_new_chats")]
    NewChats,
    /// As many messages were sent within the minute or the day as may be.
    #[serde(rename = "paced_rate")]
    Rate,
    /// WhatsApp refused: what it refused rests for a while.
    #[serde(rename = "paced_cool_down")]
    CoolDown,
}

impl Reason {
    /// The code that clients see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WarmUp => "paced_warm_up",
            Self::NewChats => "paced_new_chats",
            Self::Rate => "paced_rate",
            Self::CoolDown => "paced_cool_down",
        }
    }
}

/// Not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wait {
    /// Why.
    pub code: Reason,
    /// From when it may go.
    pub not_before: Timestamp,
}

/// A refusal of WhatsApp's that says something about the account rather than about the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 463: this account may begin no chats for a while; known chats go on.
    NewChats,
    /// 429: this account sends too fast.
    Sends,
}

impl Refusal {
    /// What a code of an acknowledgement says about the account, if anything.
    #[must_use]
    pub fn of(code: u16) -> Option<Self> {
        match code {
            463 => Some(Self::NewChats),
            429 => Some(Self::Sends),
            _ => None,
        }
    }
}

/// The reason given to the message that was refused with `code`.
#[must_use]
pub fn refused(code: u16) -> String {
    match Refusal::of(code) {
        Some(Refusal::NewChats) => {
            "WhatsApp lets this account begin no new chats for now (463); chats in which something was said go on"
                .to_owned()
        }
        Some(Refusal::Sends) => "WhatsApp finds that this account sends too fast (429)".to_owned(),
        None => format!("WhatsApp refused the message with code {code}"),
    }
}
