//! Where a message goes: one WhatsApp address, checked at the edge.
//!
//! An address is never logged in clear: `telemetry::hashed` is what logs may show.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::Error;

/// The longest text of an address.
pub const LIMIT: usize = 128;

/// What an address looks like from outside, as a regular expression; [`Address::from_str`] takes exactly this.
pub const PATTERN: &str = concat!(
    r"^(?:[-+ ().]*(?:[0-9][-+ ().]*){5,20}|[0-9]{5,20}(?::[0-9]{1,5})?@s\.whatsapp\.net",
    r"|[0-9]{1,24}(?::[0-9]{1,5})?@lid|[-0-9A-Za-z]{1,64}@(?:g\.us|newsletter|broadcast))$"
);

/// What kind of place an address names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Server {
    /// A person, by phone number.
    Phone,
    /// A person, by WhatsApp's private id.
    Lid,
    /// A group.
    Group,
    /// A channel.
    Newsletter,
    /// Status updates and broadcast lists.
    Broadcast,
}

impl Server {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Phone, "s.whatsapp.net"),
        (Self::Lid, "lid"),
        (Self::Group, "g.us"),
        (Self::Newsletter, "newsletter"),
        (Self::Broadcast, "broadcast"),
    ];

    fn text(self) -> &'static str {
        Self::ALL.iter().find(|(server, _)| *server == self).map_or("", |(_, text)| text)
    }
}

/// One WhatsApp address without a device: `15550100@s.whatsapp.net`, `…@lid`, `…@g.us`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    user: String,
    server: Server,
}

impl Address {
    /// The part before the `@`.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What kind of place it is.
    #[must_use]
    pub fn server(&self) -> Server {
        self.server
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, self.server.text())
    }
}

impl FromStr for Address {
    type Err = Error;

    /// Accepts what [`PATTERN`] says: a phone number (`+1 555 0100`, `15550100`) or a full address; drops a device part.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |message: &str| Error::invalid("to", "invalid_address", message.to_owned());
        if text.len() > LIMIT {
            return Err(refuse("must be at most 128 characters"));
        }
        let Some((user, server)) = text.split_once('@') else {
            let digits: String =
                text.chars().filter(|c| !matches!(c, '+' | ' ' | '-' | '(' | ')' | '.')).collect();
            return Self::checked(&digits, Server::Phone).ok_or_else(|| {
                refuse("must be a phone number of 5 to 20 digits with country code, or a WhatsApp address")
            });
        };
        let server = Server::ALL.iter().find(|(_, name)| *name == server).map(|(server, _)| *server);
        let server = server.ok_or_else(|| refuse("has an unknown part after the @"))?;
        let (user, device) = user.split_once(':').map_or((user, None), |(user, device)| (user, Some(device)));
        let personal = matches!(server, Server::Phone | Server::Lid);
        let number = |text: &str| (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if device.is_some_and(|device| !personal || !number(device)) {
            return Err(refuse("has an invalid device"));
        }
        Self::checked(user, server).ok_or_else(|| refuse("has an invalid part before the @"))
    }
}

impl Address {
    fn checked(user: &str, server: Server) -> Option<Self> {
        let digits = !user.is_empty() && user.bytes().all(|b| b.is_ascii_digit());
        let fine = match server {
            Server::Phone => digits && (5..=20).contains(&user.len()),
            Server::Lid => digits && user.len() <= 24,
            Server::Group | Server::Newsletter | Server::Broadcast => {
                !user.is_empty()
                    && user.len() <= 64
                    && user.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            }
        };
        fine.then(|| Self { user: user.to_owned(), server })
    }
}

impl utoipa::PartialSchema for Address {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        let schema = utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("A WhatsApp address, or a phone number with country code"))
            .pattern(Some(PATTERN))
            .min_length(Some(5))
            .max_length(Some(LIMIT))
            .examples(["15550100199@s.whatsapp.net"]);
        utoipa::openapi::RefOr::T(schema.build().into())
    }
}

impl utoipa::ToSchema for Address {}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_numbers_in_many_ways() {
        for text in
            ["+1 (555) 010-0199", "15550100199", "15550100199@s.whatsapp.net", "15550100199:7@s.whatsapp.net"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), "15550100199@s.whatsapp.net", "{text}");
        }
        assert_eq!("120363-1@g.us".parse::<Address>().unwrap().server(), Server::Group);
    }

    #[test]
    fn nonsense_is_refused_and_names_its_field() {
        for text in [
            "",
            "abc",
            "123",
            " 1@lid",
            "1@lid\n",
            "1:x@lid",
            "1:@lid",
            "1:0@g.us",
            "1@nowhere",
            "@s.whatsapp.net",
            "12x45@s.whatsapp.net",
            &"9".repeat(200),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.field.as_deref(), Some("to"), "{text}");
        }
    }
}
