//! Nodes and who owns what.
//!
//! No clock is compared between nodes: a node lives as long as its `seen_at` changes, a lease as long as its
//! `expires_at` does. Whoever watches measures the time between two changes with its own clock.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::ids::{Epoch, Shard};
use super::time::Timestamp;

/// What a process does.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[schema(as = NodeRole)]
pub enum Role {
    /// Serves clients.
    Api,
    /// Keeps WhatsApp sessions.
    Sessions,
    /// Carries events from the tables to the streams.
    Relay,
    /// Delivers events to consumer groups.
    Consumers,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Api, Self::Sessions, Self::Relay, Self::Consumers];

    /// What the owner of a shard does. One lease covers it, so it is one process that does it.
    pub const OF_AN_OWNER: [Self; 3] = [Self::Sessions, Self::Relay, Self::Consumers];

    const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Sessions => "sessions",
            Self::Relay => "relay",
            Self::Consumers => "consumers",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|role| role.name() == text);
        known.ok_or_else(|| {
            Error::invalid("roles", "unknown_role", "must be of api, sessions, relay and consumers")
        })
    }
}

/// What a process does, in reading order and without repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(max_items = 4)]
pub struct Roles(Vec<Role>);

impl Default for Roles {
    fn default() -> Self {
        Self(Role::ALL.to_vec())
    }
}

impl Roles {
    /// Whether a process with these roles serves clients.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.0.contains(&Role::Api)
    }

    /// Whether a process with these roles may own shards.
    #[must_use]
    pub fn owns(&self) -> bool {
        Role::OF_AN_OWNER.iter().all(|role| self.0.contains(role))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|role| role.name()).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Roles {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut roles = text.split(',').map(|name| name.trim().parse()).collect::<Result<Vec<Role>, _>>()?;
        roles.sort_unstable();
        roles.dedup();
        let some = Role::OF_AN_OWNER.iter().filter(|role| roles.contains(role)).count();
        if some != 0 && some != Role::OF_AN_OWNER.len() {
            let detail =
                "sessions, relay and consumers of a shard go under one lease: name all three or none";
            return Err(Error::invalid("roles", "incomplete_roles", detail));
        }
        Ok(Self(roles))
    }
}

/// A node as the others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// Unique per process.
    #[schema(max_length = 512, example = "node-1")]
    pub node: String,
    /// Where it answers other nodes.
    #[schema(max_length = 512, example = "http://10.0.0.7:3000")]
    pub address: String,
    /// What it does.
    pub roles: Roles,
    /// Its version of Recado.
    #[schema(max_length = 64, example = "0.1.0")]
    pub version: String,
    /// When it started, by its own clock.
    pub started_at: Timestamp,
    /// When it last said that it is there, by its own clock.
    pub seen_at: Timestamp,
}

/// A shard's lease as it stands in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// Which shard.
    pub shard: Shard,
    /// Who holds it; nobody when it was given back.
    pub node: Option<String>,
    /// Where the holder answers other nodes.
    pub address: String,
    /// In which epoch.
    pub epoch: Epoch,
    /// Changes with every renewal.
    pub expires_at: Timestamp,
}

/// Nodes and leases as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Every node that said so and has not said good-bye.
    pub nodes: Vec<NodeView>,
    /// Every shard that ever had an owner.
    pub leases: Vec<LeaseView>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_as_they_are_written() {
        let all: Roles = " consumers,api, relay,sessions,api".parse().unwrap();
        assert_eq!(all, Roles::default());
        assert_eq!(all.to_string(), "api,sessions,relay,consumers");
        assert!(all.serves() && all.owns());
        let api: Roles = "api".parse().unwrap();
        assert!(api.serves() && !api.owns());
        assert_eq!("api,sessions".parse::<Roles>().unwrap_err().code, "incomplete_roles");
        assert_eq!("api,cook".parse::<Roles>().unwrap_err().code, "unknown_role");
        assert_eq!("".parse::<Roles>().unwrap_err().code, "unknown_role");
    }
}
