//! Mail addresses and names of people: checked once, hidden ever after.
//!
//! Promises: an address is in one form (trimmed, lower case), so equal people are equal text; it can stand in a mail's
//! header as it is; neither is shown by `Debug`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::error::Error;
use crate::domain::label::{self, label};

/// The longest address, as RFC 5321 has it.
const ADDRESS_LIMIT: usize = 254;

/// The longest part before the `@`.
const LOCAL_LIMIT: usize = 64;

/// A mail address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, utoipa::ToSchema)]
#[schema(value_type = String, format = Email, max_length = 254, example = "ana@example.org")]
pub struct MailAddress(String);

impl MailAddress {
    /// The address. Not for logs, errors or events.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn local(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
    (1..=LOCAL_LIMIT).contains(&text.len())
        && text.bytes().all(known)
        && !text.starts_with('.')
        && !text.ends_with('.')
        && !text.contains("..")
}

fn domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels: Vec<_> = text.split('.').collect();
    // The last one is no number: an address of a machine is none of a person.
    let named = labels.last().is_some_and(|last| last.bytes().any(|byte| byte.is_ascii_alphabetic()));
    labels.len() >= 2 && named && labels.into_iter().all(label)
}

impl FromStr for MailAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let parts = text.rsplit_once('@').filter(|_| text.len() <= ADDRESS_LIMIT);
        if parts.is_some_and(|(before, after)| local(before) && domain(after)) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        Err(Error::invalid("email", "invalid_email", "must be a mail address"))
    }
}

impl fmt::Debug for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mail address")
    }
}

impl Serialize for MailAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MailAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a person is called.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PersonName(String);

impl utoipa::PartialSchema for PersonName {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        label::schema("Ana")
    }
}

impl utoipa::ToSchema for PersonName {}

impl PersonName {
    /// The name. Not for logs, errors or events.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PersonName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        label("name", text.to_owned()).map(Self)
    }
}

impl fmt::Debug for PersonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
}

impl Serialize for PersonName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PersonName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_has_one_form() {
        let address: MailAddress = "  Ana.Lopez+tag@Example.ORG ".parse().unwrap();
        assert_eq!(address.as_str(), "ana.lopez+tag@example.org");
        assert_eq!(serde_json::to_string(&address).unwrap(), "\"ana.lopez+tag@example.org\"");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "@",
            "ana",
            "ana@",
            "@example.org",
            "ana@example",
            "ana@-example.org",
            "ana@example-.org",
            "ana@exa mple.org",
            "a..b@example.org",
            ".a@example.org",
            "a.@example.org",
            "ana@127.0.0.1",
            "ana@[127.0.0.1]",
            "\"ana\"@example.org",
            "ana@b@example.org",
            "ana@example..org",
            "ana@example.org.",
            "ana\r\nBcc: x@example.org",
            "ana@example.org\nX",
            "ana,eva@example.org",
            "<ana@example.org>",
            "añá@example.org",
        ] {
            assert_eq!(bad.parse::<MailAddress>().unwrap_err().code, "invalid_email", "{bad:?}");
        }
        let long = format!("{}@{}.org", "a".repeat(64), "b.".repeat(100));
        assert!(long.parse::<MailAddress>().is_err());
    }

    #[test]
    fn nothing_personal_is_shown() {
        let address: MailAddress = "ana@example.org".parse().unwrap();
        let name: PersonName = "Ana López".parse().unwrap();
        let shown = format!("{address:?} {name:?}");
        assert!(!shown.contains("ana@") && !shown.contains("Ana"), "{shown}");
    }

    proptest! {
        #[test]
        fn whatever_is_taken_can_stand_in_a_header(text in ".{0,80}") {
            if let Ok(address) = text.parse::<MailAddress>() {
                prop_assert!(address.as_str().bytes().all(|byte| byte.is_ascii_graphic() && !b"<>,;:\"\\".contains(&byte)));
                prop_assert_eq!(&address.as_str().parse::<MailAddress>().unwrap(), &address);
            }
        }
    }
}
