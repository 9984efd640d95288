//! A login: one device that somebody signed in on, and its family of refresh tokens, of which one is right at a time.

use serde::Serialize;

use crate::domain::ids::{LoginId, TenantId, UserId};
use crate::domain::time::Timestamp;

/// A login, without its tokens' hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Login {
    /// The family.
    pub login_id: LoginId,
    /// Whose.
    #[serde(skip)]
    #[schema(ignore)]
    pub tenant_id: TenantId,
    /// Whose.
    pub user_id: UserId,
    /// How often its token was renewed.
    #[schema(minimum = 1, example = 7)]
    pub generation: i64,
    /// What the device called itself, cut to a bound.
    #[schema(max_length = 200, example = "Firefox on a laptop")]
    pub user_agent: String,
    /// When somebody signed in.
    pub created_at: Timestamp,
    /// When its token was last renewed.
    pub last_used_at: Timestamp,
    /// Until when it can be renewed.
    pub expires_at: Timestamp,
    /// When it was ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128, example = "logout")]
    pub revoked_reason: Option<String>,
}

/// What became of a refresh token that was presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It was right; from now on the fresh one is.
    Rotated(Login),
    /// It is the one before, and was renewed a moment ago: a client that asked twice. Nothing changed.
    Superseded,
    /// It is none of the family's, or an old one: somebody has a copy. The family is ended.
    Reused(Login),
    /// The family was ended before, or the person may not log in any more.
    Revoked,
    /// The family is too old.
    Expired,
    /// There is no such family.
    Unknown,
}
