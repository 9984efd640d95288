//! The names of things, one type each, so that a message id can never stand where a session id belongs.
//!
//! Ids are UUID v7: they sort by creation time, which keeps index pages hot.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::Error;

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident, $field:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String, format = Uuid, min_length = 36, max_length = 36, example = "0192f0c1-7b7a-7000-8000-000000000001")]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id, later than every one made before on this machine.
            #[expect(clippy::new_without_default, reason = "a fresh id is not a default value")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                // Of the forms a UUID can be written in, one: two texts for one thing would be two things to a cache.
                let hyphenated = text.len() == uuid::fmt::Hyphenated::LENGTH;
                let id = Uuid::parse_str(text).ok().filter(|_| hyphenated).map(Self);
                id.ok_or_else(|| Error::invalid($field, "invalid_id", "must be a UUID with hyphens"))
            }
        }
    )*};
}

uuid_id! {
    /// Who owns users, sessions and keys.
    TenantId, "tenantId";
    /// One linked WhatsApp account.
    SessionId, "sessionId";
    /// One message of ours, in or out (WhatsApp's own id is [`WaId`]).
    MessageId, "messageId";
    /// One instruction to a session.
    CommandId, "commandId";
    /// One event.
    EventId, "eventId";
    /// One dead letter.
    DeadLetterId, "deadLetterId";
    /// One API key.
    KeyId, "keyId";
    /// One person.
    UserId, "userId";
    /// One login: a device somebody signed in on, and the family of its refresh tokens.
    LoginId, "loginId";
    /// One token that a mail's link carries.
    OneTimeId, "tokenId";
    /// One entry of the audit log.
    AuditId, "auditId";
    /// One key that access tokens are signed with.
    SigningKeyId, "kid";
}

impl TenantId {
    /// The first tenant, of whoever runs the service.
    pub const DEFAULT: Self = Self(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001));
}

/// What an event is about, and what its `seq` counts for: a session, or a tenant where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(pub Uuid);

impl From<SessionId> for Subject {
    fn from(session: SessionId) -> Self {
        Self(session.0)
    }
}

impl From<TenantId> for Subject {
    fn from(tenant: TenantId) -> Self {
        Self(tenant.0)
    }
}

/// A slice of sessions with one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Shard(pub u16);

impl Shard {
    /// The shard of a session or tenant: a hash of its id, the same on every node.
    #[must_use]
    pub fn of(subject: impl Into<Subject>, shards: u16) -> Self {
        let low = subject.into().0.as_u128() & u128::from(u64::MAX);
        let slot = low % u128::from(shards.max(1));
        Self(u16::try_from(slot).unwrap_or_default())
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the owners a shard has had; a write with an old one changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Epoch(pub i64);

/// Place in a shard's log: 1, 2, 3… without gaps; 0 is before the first. Also the cursor clients resume from.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    Default,
    utoipa::ToSchema,
)]
#[serde(transparent)]
#[schema(minimum = 0, example = 345)]
pub struct Position(pub i64);

impl Position {
    /// The place `n` further on.
    #[must_use]
    pub fn plus(self, n: usize) -> Self {
        Self(self.0.saturating_add(i64::try_from(n).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The right to write for a shard: who won the lease, in which epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The shard owned.
    pub shard: Shard,
    /// The epoch it was won in.
    pub epoch: Epoch,
}

/// WhatsApp's id of a message, in the shape its own clients use: `3EB0` and 18 upper-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(min_length = 1, max_length = 512, example = "3EB0C4A1F9E2B7D85A6C13")]
pub struct WaId(pub String);

impl WaId {
    /// The id a message will carry to WhatsApp, fixed at accept time: a resend after a crash repeats it.
    #[must_use]
    pub fn of(message: MessageId) -> Self {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(message.0.as_bytes());
        let mut text = String::with_capacity(22);
        text.push_str("3EB0");
        for byte in &digest[..9] {
            text.push_str(&format!("{byte:02X}"));
        }
        Self(text)
    }
}

impl fmt::Display for WaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whatsapp_id_is_the_same_at_every_resend_and_has_the_engines_shape() {
        let message = MessageId::new();
        let id = WaId::of(message);
        assert_eq!(id, WaId::of(message));
        assert_eq!(id.0.len(), 22);
        assert!(id.0.starts_with("3EB0") && id.0[4..].chars().all(|c| matches!(c, '0'..='9' | 'A'..='F')));
    }

    #[test]
    fn a_session_keeps_its_shard_and_every_shard_is_used() {
        let mut used = std::collections::HashSet::new();
        for _ in 0..1000 {
            let session = SessionId::new();
            let shard = Shard::of(session, 16);
            assert_eq!(shard, Shard::of(session, 16));
            assert!(shard.0 < 16);
            used.insert(shard);
        }
        assert_eq!(used.len(), 16);
    }
}
