//! API keys, as authentication needs them and as lists show them. Their text is nowhere.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::audit::Actor;
use super::scopes::Scopes;
use crate::domain::ids::{KeyId, SessionId, TenantId};
use crate::domain::time::Timestamp;

/// A stored API key, as authentication needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub id: KeyId,
    /// What it may do. Those of the whole service only with the operator's tenant.
    pub scopes: Scopes,
    /// With which sessions only; `None` is all.
    pub sessions: Option<Arc<[SessionId]>>,
    /// Until when.
    pub expires_at: Option<Timestamp>,
    /// Since when it is no more.
    pub revoked_at: Option<Timestamp>,
    /// Whether its tenant may not get in.
    pub tenant_suspended: bool,
}

impl KeyView {
    /// Whether it opens anything at this moment.
    #[must_use]
    pub fn good(&self, at: Timestamp) -> bool {
        self.revoked_at.is_none()
            && !self.tenant_suspended
            && self.expires_at.is_none_or(|expires| at < expires)
    }

    /// Whether it may be used with this session.
    #[must_use]
    pub fn reaches(&self, session: SessionId) -> bool {
        self.sessions.as_ref().is_none_or(|sessions| sessions.contains(&session))
    }
}

/// An API key as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyView {
    /// Which.
    pub key_id: KeyId,
    /// For people.
    #[schema(min_length = 1, max_length = 100, example = "shop")]
    pub name: String,
    /// The first characters of its text, to know it by; empty for keys of before.
    #[schema(max_length = 8, example = "AAAAAAAA")]
    pub prefix: String,
    /// What it may do.
    pub scopes: Scopes,
    /// With which sessions only; absent for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<SessionId>>, max_items = 100, example = json!(["0192f0c1-7b7a-7000-8000-000000000001"]))]
    pub session_ids: Option<Vec<SessionId>>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Actor>,
    /// When.
    pub created_at: Timestamp,
    /// Until when it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to about a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// Since when it is no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// The key that took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<KeyId>,
}
