//! An event: something that happened, immutable, in one envelope for every client and consumer.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::data::Data;
use super::error::Error;
use super::ids::{EventId, Position, SessionId, Subject, TenantId};
use super::time::Timestamp;

/// The most an event's data may weigh in bytes.
pub const DATA_LIMIT: usize = 65_536;

/// Which log a row of `events` belongs to; each has its own positions per shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Log {
    /// What happened, for clients and consumers.
    DomainEvents,
    /// What is to be done, as durable wake-ups for sessions.
    SessionCommands,
}

impl Log {
    /// Every log.
    pub const ALL: [Self; 2] = [Self::DomainEvents, Self::SessionCommands];

    /// The name of the stream and of the column value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DomainEvents => "domain-events",
            Self::SessionCommands => "session-commands",
        }
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Log {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|log| log.as_str() == text).ok_or_else(|| Error::bug("an unknown log"))
    }
}

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The type of a domain event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EventType { $($(#[$doc])* $name,)* }

        impl EventType {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The canonical name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

event_types! {
    /// A session was made.
    SessionCreated = "session.created",
    /// A QR code to scan: `{qr, expiresAt}`.
    SessionQrUpdated = "session.qr.updated",
    /// A pairing code to enter: `{pairingCode, expiresAt}`.
    SessionPairingCodeUpdated = "session.pairing_code.updated",
    /// Logged in: `{pn, lid, connectedAt}`.
    SessionConnected = "session.status.connected",
    /// The socket is gone: `{reason, disconnectedAt}`.
    SessionDisconnected = "session.status.disconnected",
    /// Any change of state: `{from, to, reason}`.
    SessionStatusChanged = "session.status.changed",
    /// Something needs a person: `{code, message}`.
    SessionError = "session.error",
    /// The session is gone.
    SessionDeleted = "session.deleted",
    /// Accepted and durable.
    MessageQueued = "message.queued",
    /// WhatsApp's server has it.
    MessageSent = "message.sent",
    /// A device of the recipient has it.
    MessageDelivered = "message.delivered",
    /// Read.
    MessageRead = "message.read",
    /// Played.
    MessagePlayed = "message.played",
    /// Given up on: `{code, reason}`.
    MessageFailed = "message.failed",
    /// Somebody wrote to this account.
    MessageReceived = "message.received",
    /// Somebody made a tenant of their own: `{userId, role, state}`, as all of people but the last.
    UserRegistered = "user.registered",
    /// A mail address was proven.
    UserVerified = "user.verified",
    /// Somebody was asked to join a tenant.
    UserInvited = "user.invited",
    /// Somebody may not log in any more.
    UserSuspended = "user.suspended",
    /// Somebody may log in again.
    UserReinstated = "user.reinstated",
    /// Somebody is gone for good.
    UserDeleted = "user.deleted",
    /// Somebody's mail address is another one.
    UserMailChanged = "user.mail_changed",
    /// Somebody's password is another one.
    UserPasswordChanged = "user.password_changed",
    /// A one-time token is to be sent by mail: `{userId, tokenId, purpose, locale}`.
    UserTokenIssued = "user.token_issued",
}

impl EventType {
    /// Whether it is about people: shown to those only who may see the tenant's people.
    #[must_use]
    pub fn of_people(self) -> bool {
        self.as_str().starts_with(PEOPLE)
    }
}

/// What the types of events about people start with.
const PEOPLE: &str = "user.";

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let known = Self::ALL.iter().copied().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| Error::invalid("type", "unknown_event_type", "is not an event type"))
    }
}

/// One event as clients and consumers see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Unique for ever; the key to deduplicate by.
    pub event_id: EventId,
    /// `message.received`…; on `session-commands` the command's type.
    #[serde(rename = "type")]
    #[schema(pattern = r"^[a-z_.]+$", min_length = 1, max_length = 64, example = "message.sent")]
    pub kind: String,
    /// Version of the shape of `data`.
    #[schema(minimum = 0, maximum = 4_294_967_295_u64, example = 1)]
    pub version: u32,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The session it happened to; absent where it happened to none, as to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// 1, 2, 3… per session and log; per tenant where there is no session.
    #[schema(minimum = 1, example = 12)]
    pub seq: i64,
    /// Place in the log; the cursor to resume from.
    pub position: Position,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// What happened.
    #[schema(schema_with = any_object)]
    pub data: Data,
}

impl Event {
    /// What it is about: its session, or its tenant.
    #[must_use]
    pub fn subject(&self) -> Subject {
        self.session_id.map_or_else(|| self.tenant_id.into(), Subject::from)
    }

    /// Whether it is about people: shown to those only who may see the tenant's people.
    #[must_use]
    pub fn of_people(&self) -> bool {
        self.kind.starts_with(PEOPLE)
    }
}

/// What an event says depends on its type: an object, for the documentation.
fn any_object() -> utoipa::openapi::Object {
    use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, Type};
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)))
        .examples([serde_json::json!({"messageId": "0192f0c1-7b7a-7000-8000-000000000001"})])
        .build()
}

/// An event on its way through a stream: the envelope with what routing needs, and its JSON made once.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Place in the log.
    pub position: Position,
    /// The event.
    pub event: Arc<Event>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::time::now;

    #[test]
    fn every_type_survives_its_text() {
        for kind in EventType::ALL {
            assert_eq!(kind.as_str().parse::<EventType>().unwrap(), *kind);
        }
    }

    #[test]
    fn the_envelope_is_what_the_contract_says() {
        let event = Event {
            event_id: EventId::new(),
            kind: EventType::MessageSent.to_string(),
            version: 1,
            tenant_id: TenantId::DEFAULT,
            session_id: Some(SessionId::new()),
            seq: 1,
            position: Position(7),
            occurred_at: now(),
            data: Data::from(&serde_json::json!({"messageId": "x"})),
        };
        let json = serde_json::to_value(&event).unwrap();
        let mut keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        assert_eq!(
            keys,
            ["data", "eventId", "occurredAt", "position", "seq", "sessionId", "tenantId", "type", "version"]
        );
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
        let of_tenant = Event { session_id: None, ..event };
        let json = serde_json::to_value(&of_tenant).unwrap();
        assert_eq!((json.get("sessionId"), of_tenant.subject()), (None, TenantId::DEFAULT.into()));
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), of_tenant);
    }

    /// As version 1 was first written: what is stored stays readable.
    #[test]
    fn an_event_of_the_first_version_is_still_read() {
        let stored = r#"{"eventId":"01890000-0000-7000-8000-000000000001","type":"message.received","version":1,
            "tenantId":"01890000-0000-7000-8000-000000000002","sessionId":"01890000-0000-7000-8000-000000000003",
            "seq":12,"position":345,"occurredAt":"2026-11-22T10:00:00.123Z","data":{"messageId":"x","content":{"type":"text","text":"hé"}}}"#;
        let event: Event = serde_json::from_str(stored).unwrap();
        assert_eq!((event.kind.as_str(), event.seq, event.position), ("message.received", 12, Position(345)));
        assert_eq!(event.data.value()["content"]["text"], "hé");
        let again: serde_json::Value = serde_json::from_str(&serde_json::to_string(&event).unwrap()).unwrap();
        assert_eq!(
            again,
            serde_json::from_str::<serde_json::Value>(stored).unwrap(),
            "nothing is lost or renamed"
        );
    }

    fn data() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".*".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
                prop::collection::btree_map(".{0,8}", inner, 0..5)
                    .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_event_is_read_back_as_it_was_written(
            kind in prop::sample::select(EventType::ALL),
            (version, seq, position, at) in (any::<u32>(), any::<i64>(), any::<i64>(), 0..4_102_444_800_000_i64),
            about in any::<bool>(),
            data in data(),
        ) {
            let event = Event {
                event_id: EventId::new(),
                kind: kind.to_string(),
                version,
                tenant_id: TenantId::DEFAULT,
                session_id: about.then(SessionId::new),
                seq,
                position: Position(position),
                occurred_at: Timestamp(at),
                data: Data::from(&data),
            };
            let text = serde_json::to_string(&event).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Event>(&text).unwrap(), &event);
            prop_assert_eq!(Data::stored(event.data.as_str()).unwrap().value(), data);
        }
    }
}
