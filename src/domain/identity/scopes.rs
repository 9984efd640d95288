//! Scopes: what a caller may do, as a set.
//!
//! As text they stand with spaces between, in one order; on input `sessions:*` is all of a family and `*` is all.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, Schema};

use super::words;
use crate::domain::error::Error;
use crate::domain::ids::TenantId;
use crate::domain::view::one_of;

words! {
    /// One thing that a caller may do.
    Scope, "scopes", "unknown_scope";
    /// See sessions, their state, QR codes and timelines.
    SessionsRead = "sessions:read",
    /// Make, start, stop, pair and delete sessions.
    SessionsWrite = "sessions:write",
    /// Send messages.
    MessagesSend = "messages:send",
    /// Read messages and chats.
    MessagesRead = "messages:read",
    /// Put messages of other systems in.
    MessagesIngest = "messages:ingest",
    /// Read events, by poll or live.
    EventsRead = "events:read",
    /// See webhooks and their deliveries.
    WebhooksRead = "webhooks:read",
    /// Make, change and delete webhooks; redrive dead letters.
    WebhooksWrite = "webhooks:write",
    /// Send alerts.
    AlertsSend = "alerts:send",
    /// See API keys, never their text.
    KeysRead = "keys:read",
    /// Make, rotate and revoke API keys.
    KeysWrite = "keys:write",
    /// See the tenant's people.
    UsersRead = "users:read",
    /// Invite, change, suspend and delete the tenant's people.
    UsersWrite = "users:write",
    /// Read the audit log.
    AuditRead = "audit:read",
    /// See the whole service: tree, nodes, all tenants.
    AdminRead = "admin:read",
    /// Change the whole service: log level, tenants.
    AdminWrite = "admin:write",
}

impl Scope {
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Scopes(u32);

impl utoipa::PartialSchema for Scopes {
    fn schema() -> RefOr<Schema> {
        let words = one_of(&Scope::ALL.iter().map(|scope| scope.as_str()).collect::<Vec<_>>());
        let set = ArrayBuilder::new().items(words).max_items(Some(Scope::ALL.len()));
        RefOr::T(set.examples([serde_json::json!(["sessions:read", "messages:send"])]).build().into())
    }
}

impl utoipa::ToSchema for Scopes {}

impl Scopes {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything there is.
    pub const ALL: Self = Self((1 << Scope::ALL.len()) - 1);
    /// What whoever only looks may.
    pub const VIEWER: Self =
        Self::of(&[Scope::SessionsRead, Scope::MessagesRead, Scope::EventsRead, Scope::WebhooksRead]);
    /// What whoever works with it may.
    pub const MEMBER: Self = Self(
        Self::VIEWER.0
            | Self::of(&[
                Scope::SessionsWrite,
                Scope::MessagesSend,
                Scope::MessagesIngest,
                Scope::WebhooksWrite,
                Scope::AlertsSend,
            ])
            .0,
    );
    /// What concerns the whole service.
    pub const SERVICE: Self = Self::of(&[Scope::AdminRead, Scope::AdminWrite]);

    /// These.
    #[must_use]
    pub const fn of(scopes: &[Scope]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < scopes.len() {
            bits |= scopes[at].bit();
            at += 1;
        }
        Self(bits)
    }

    /// Whether it holds `scope`.
    #[must_use]
    pub fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether it holds all of `other`.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// What both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What either holds.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// As far as a caller of this tenant may have them: those of the whole service belong to who runs it.
    #[must_use]
    pub fn within(self, tenant: TenantId) -> Self {
        if tenant == TenantId::DEFAULT { self } else { Self(self.0 & !Self::SERVICE.0) }
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its scopes, in one order.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.iter().copied().filter(move |scope| self.has(*scope))
    }

    /// Reads words, `sessions:*` and `*` among them.
    ///
    /// # Errors
    /// `Invalid` for a word that is no scope.
    pub fn parse<'t>(words: impl IntoIterator<Item = &'t str>) -> Result<Self, Error> {
        words.into_iter().try_fold(Self::NONE, |all, word| Ok(all.or(Self::word(word)?)))
    }

    /// Every word that [`Self::parse`] understands.
    #[must_use]
    pub fn words() -> BTreeSet<String> {
        let families = Scope::ALL.iter().filter_map(|scope| scope.as_str().split_once(':'));
        let families = families.map(|(family, _)| format!("{family}:*"));
        let each = Scope::ALL.iter().map(|scope| scope.as_str().to_owned());
        families.chain(each).chain(["*".to_owned()]).collect()
    }

    fn word(word: &str) -> Result<Self, Error> {
        if word == "*" {
            return Ok(Self::ALL);
        }
        if let Some(family) = word.strip_suffix('*').filter(|family| family.ends_with(':')) {
            let all = Scope::ALL.iter().filter(|scope| scope.as_str().starts_with(family));
            let all = all.fold(Self::NONE, |all, scope| all.or(Self::of(&[*scope])));
            if !all.is_empty() {
                return Ok(all);
            }
        }
        word.parse::<Scope>().map(|scope| Self::of(&[scope]))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, scope) in self.iter().enumerate() {
            if nth > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Scopes {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text.split_ascii_whitespace())
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        Self::parse(words.iter().map(String::as_str)).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn families_and_all_are_understood_and_nothing_else() {
        assert_eq!("*".parse::<Scopes>().unwrap(), Scopes::ALL);
        assert_eq!("sessions:*".parse::<Scopes>().unwrap().to_string(), "sessions:read sessions:write");
        assert_eq!("".parse::<Scopes>().unwrap(), Scopes::NONE);
        assert!(Scopes::words().iter().all(|word| word.parse::<Scopes>().is_ok_and(|some| !some.is_empty())));
        for bad in
            ["sessions", "sessions:", "session:*", ":*", "**", "sessions:read,messages:read", "Sessions:read"]
        {
            assert_eq!(bad.parse::<Scopes>().unwrap_err().code, "unknown_scope", "{bad}");
        }
    }

    #[test]
    fn the_services_scopes_stay_with_its_operator() {
        let other = TenantId(uuid::Uuid::nil());
        assert_eq!(Scopes::ALL.within(TenantId::DEFAULT), Scopes::ALL);
        assert_eq!(Scopes::ALL.within(other).or(Scopes::SERVICE), Scopes::ALL);
        assert!(Scopes::SERVICE.within(other).is_empty());
    }

    proptest! {
        #[test]
        fn any_set_survives_its_text(bits in 0..=Scopes::ALL.0) {
            let scopes = Scopes(bits);
            prop_assert_eq!(scopes.to_string().parse::<Scopes>().unwrap(), scopes);
            let json = serde_json::to_string(&scopes).unwrap();
            prop_assert_eq!(serde_json::from_str::<Scopes>(&json).unwrap(), scopes);
        }
    }
}
