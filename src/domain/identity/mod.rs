//! People and what they may do: tenants, users, roles and scopes, logins, one-time tokens, API keys, signing keys, and
//! what is written down of all that.
//!
//! Promises: no type here shows a mail address, a name, a password's hash or a key's by accident: their `Debug` hides
//! them, and none of them has a `Display`.

pub mod audit;
pub mod key;
pub mod locale;
pub mod login;
pub mod mail;
pub mod one_time;
pub mod role;
pub mod scopes;
pub mod signing;
pub mod user;

pub use audit::{Actor, AuditEntry, AuditFilter, AuditView, Target};
pub use key::{ApiKeyView, KeyView};
pub use locale::Locale;
pub use login::{Login, Rotation};
pub use mail::{MailAddress, PersonName};
pub use one_time::{OneTime, Purpose};
pub use role::Role;
pub use scopes::{Scope, Scopes};
pub use signing::SigningKey;
pub use user::{PasswordHash, TenantView, User, UserFilter, UserState, UserView};

/// Text that stands for one of a few values, in columns and in JSON.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $field:literal, $code:literal; $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)*) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
        )]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As it stands in columns and in JSON.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        // Not derived: utoipa does not read a name that comes out of a macro.
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let words = crate::domain::view::one_of(&[$($text,)*]);
                utoipa::openapi::RefOr::T(words.into())
            }
        }

        impl utoipa::ToSchema for $name {}

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::domain::error::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let known = Self::ALL.iter().copied().find(|one| one.as_str() == text);
                known.ok_or_else(|| {
                    let all: Vec<_> = Self::ALL.iter().map(|one| one.as_str()).collect();
                    Self::Err::invalid($field, $code, format!("must be one of {}", all.join(", ")))
                })
            }
        }
    };
}
use words;
