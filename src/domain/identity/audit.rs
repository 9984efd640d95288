//! The audit log: who did what to which. Written with what it tells of, never changed.
//!
//! Promises: what an entry says is bounded; its callers put no personal data and no secret into it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::words;
use crate::domain::error::Error;
use crate::domain::ids::{AuditId, TenantId};
use crate::domain::time::Timestamp;

/// The most the detail of an entry may weigh in bytes.
pub const DETAIL_LIMIT: usize = 2_048;

/// The longest text of an entry's other fields.
pub const TEXT_LIMIT: usize = 128;

words! {
    /// What kind of thing acts.
    ActorKind, "actorKind", "invalid_actor";
    /// A person.
    User = "user",
    /// An API key.
    Key = "key",
    /// The service itself, or whoever runs it, by the command line.
    System = "system",
}

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// What kind.
    pub kind: ActorKind,
    /// Which; absent for the service itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        value_type = Option<String>,
        format = Uuid,
        min_length = 36,
        max_length = 36,
        example = "0192f0c1-7b7a-7000-8000-000000000001"
    )]
    pub id: Option<Uuid>,
}

impl Actor {
    /// The service itself.
    pub const SYSTEM: Self = Self { kind: ActorKind::System, id: None };

    /// A person.
    #[must_use]
    pub fn user(id: crate::domain::ids::UserId) -> Self {
        Self { kind: ActorKind::User, id: Some(id.0) }
    }

    /// An API key.
    #[must_use]
    pub fn key(id: crate::domain::ids::KeyId) -> Self {
        Self { kind: ActorKind::Key, id: Some(id.0) }
    }
}

/// As columns hold it: `user:0192…`, `system`.
impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        self.id.map_or(Ok(()), |id| write!(f, ":{id}"))
    }
}

impl FromStr for Actor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (kind, id) = text.split_once(':').map_or((text, None), |(kind, id)| (kind, Some(id)));
        let bad = |_bad| Error::invalid("actor", "invalid_actor", "must be user:<id>, key:<id> or system");
        let id = id.map(Uuid::parse_str).transpose().map_err(bad)?;
        Ok(Self { kind: kind.parse()?, id })
    }
}

/// What it was done to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// `session`, `user`, `key`…
    #[schema(min_length = 1, max_length = 128, example = "key")]
    pub kind: String,
    /// Which.
    #[schema(min_length = 1, max_length = 128, example = "0192f0c1-7b7a-7000-8000-000000000001")]
    pub id: String,
}

impl Target {
    /// A thing by its kind and id.
    #[must_use]
    pub fn new(kind: &str, id: impl fmt::Display) -> Self {
        Self { kind: kind.to_owned(), id: id.to_string() }
    }
}

/// An entry to write.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// Its id; entries of one moment are told apart by it.
    pub id: AuditId,
    /// Whose log.
    pub tenant: TenantId,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What: `session.created`, `key.revoked`, `login.failed`…
    pub action: String,
    /// To which.
    pub target: Option<Target>,
    /// By which request.
    pub request_id: Option<String>,
    /// From where: a keyed hash of the address, never the address.
    pub client: Option<String>,
    /// What else: `{"from": "member", "to": "admin"}`. No personal data, no secret.
    pub detail: Value,
}

impl AuditEntry {
    /// An entry without target, request, client or detail.
    #[must_use]
    pub fn new(tenant: TenantId, actor: Actor, action: &str, at: Timestamp) -> Self {
        Self {
            id: AuditId::new(),
            tenant,
            at,
            actor,
            action: action.to_owned(),
            target: None,
            request_id: None,
            client: None,
            detail: Value::Null,
        }
    }

    /// The same with a target.
    #[must_use]
    pub fn to(mut self, kind: &str, id: impl fmt::Display) -> Self {
        self.target = Some(Target::new(kind, id));
        self
    }
}

/// An entry as it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditView {
    /// Its id.
    pub audit_id: AuditId,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What.
    #[schema(min_length = 1, max_length = 128, example = "key.revoked")]
    pub action: String,
    /// To which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// By which request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128, example = "0192f0c1-7b7a-7000-8000-000000000001")]
    pub request_id: Option<String>,
    /// From where, as a keyed hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128, example = "~3f9c01d2aa47")]
    pub client: Option<String>,
    /// What else.
    #[schema(schema_with = any_object)]
    pub detail: Value,
}

/// What an entry says besides depends on its action: an object, for the documentation.
fn any_object() -> utoipa::openapi::Object {
    use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, Type};
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)))
        .examples([serde_json::json!({"from": "member", "to": "admin"})])
        .build()
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only by this one.
    pub actor: Option<Actor>,
    /// Only this action.
    pub action: Option<String>,
    /// Only to the thing with this id.
    pub target: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{KeyId, UserId};

    #[test]
    fn an_actor_survives_its_text() {
        for actor in [Actor::SYSTEM, Actor::user(UserId::new()), Actor::key(KeyId::new())] {
            assert_eq!(actor.to_string().parse::<Actor>().unwrap(), actor);
        }
        for bad in ["", "ana", "user:", "user:x", ":"] {
            assert_eq!(bad.parse::<Actor>().unwrap_err().code, "invalid_actor", "{bad}");
        }
    }
}
