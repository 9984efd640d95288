//! The pacing of a session as clients see it.

use serde::{Deserialize, Serialize};

use super::{History, Refusal, Rules, Wait};
use crate::domain::time::Timestamp;

/// What a session may send now, and what it has sent today.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PacingView {
    /// What every message waits for now; absent when one may go at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<Wait>,
    /// What a message waits for that begins a chat; absent when one may go at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_chat_waits: Option<Wait>,
    /// The most messages within any minute; absent without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 20)]
    pub per_minute: Option<u32>,
    /// Messages of today (UTC).
    pub messages: Allowance,
    /// Chats begun today (UTC).
    pub new_chats: Allowance,
    /// When today ends.
    pub resets_at: Timestamp,
    /// While the account is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<WarmUp>,
    /// While WhatsApp lets the account begin no chats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cool_down: Option<CoolDown>,
}

/// A daily allowance. Without a limit and without a cool-down nothing is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Allowance {
    /// Used.
    #[schema(minimum = 0, example = 12)]
    pub used: i64,
    /// All of it; absent without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 50)]
    pub limit: Option<u32>,
    /// What is left of it; absent without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, example = 38)]
    pub left: Option<i64>,
}

/// How far a warm-up is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WarmUp {
    /// Days since the account was linked.
    #[schema(example = 3)]
    pub day: u32,
    /// Days until the allowances are full.
    #[schema(example = 14)]
    pub days: u32,
}

/// A cool-down after 463.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CoolDown {
    /// Until when no chat is begun.
    pub until: Timestamp,
    /// Cool-downs in a row, this one included; each is twice as long as the one before.
    #[schema(minimum = 1, example = 1)]
    pub in_a_row: i64,
}

impl PacingView {
    /// As of now.
    #[must_use]
    pub fn of(rules: &Rules, history: &History, now: Timestamp) -> Self {
        let (sent, begun) = history.today(now);
        let allowance = |full: Option<u32>, used: i64| {
            let limit = full.map(|full| rules.allowance(full, history, now));
            Allowance { used, limit, left: limit.map(|limit| (i64::from(limit) - used).max(0)) }
        };
        let cool_down = rules.cooling(history, Refusal::NewChats, now);
        Self {
            waits: rules.before_any(history, now),
            new_chat_waits: rules.before(history, true, now),
            per_minute: rules.per_minute,
            messages: allowance(rules.per_day, sent),
            new_chats: allowance(rules.new_chats_per_day, begun),
            resets_at: rules.next_day(history, now),
            warm_up: rules.warming(history, now).map(|(day, days)| WarmUp { day, days }),
            cool_down: cool_down
                .map(|wait| CoolDown { until: wait.not_before, in_a_row: history.chats.count }),
        }
    }
}
