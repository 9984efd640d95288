//! What people and tokens are held to: who may register, how long tokens live, what signs them.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use super::read::Reader;
use super::{Mode, weak};
use crate::infra::passwords::Cost;

/// The shortest secret that signs: as long as what it makes.
const SHORTEST: usize = 32;

/// A day.
const DAY: u64 = 24 * 60 * 60;

/// People and tokens.
#[derive(Clone, Debug)]
pub struct IdentityConfig {
    /// Whether anybody can register.
    pub registration: bool,
    /// How long an access token lives.
    pub access_for: Duration,
    /// How long a login can go unused.
    pub login_for: Duration,
    /// How long a key signs before the next does.
    pub signing_for: Duration,
    /// One secret that signs instead of keys of our own.
    pub shared: Option<SharedSecret>,
    /// How much work a password's hash takes; less only in tests.
    pub cost: Cost,
}

/// A secret that signs and opens tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedSecret(pub Zeroizing<String>);

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(…)")
    }
}

impl IdentityConfig {
    pub(super) fn read(reader: &mut Reader<'_>, mode: Mode) -> Self {
        let registration = if reader.was_given(&["RECADO_REGISTRATION"]) {
            reader.one_of("RECADO_REGISTRATION", &["open", "closed"]) == "open"
        } else {
            let open = mode == Mode::Development;
            reader.effective("RECADO_REGISTRATION", if open { "open" } else { "closed" });
            open
        };
        let algorithm = reader.one_of("RECADO_JWT_ALGORITHM", &["EdDSA", "HS256"]);
        let secret = reader.secret("AUTH_JWT_SECRET");
        let shared = match (algorithm.as_str(), secret) {
            ("HS256", Some((named, secret))) if secret.len() >= SHORTEST => {
                if weak::is_known(&secret) {
                    reader.known(format!("the secret in {named}"));
                }
                Some(SharedSecret(secret))
            }
            ("HS256", _) => {
                reader.problem(format!(
                    "AUTH_JWT_SECRET must be at least {SHORTEST} characters long with RECADO_JWT_ALGORITHM=HS256"
                ));
                None
            }
            // EdDSA signs with keys of its own, and a secret that is there for another program is none of them.
            _ => None,
        };
        Self {
            registration,
            access_for: reader.seconds("RECADO_ACCESS_TOKEN_SECS", 60..=86_400),
            login_for: Duration::from_secs(reader.number("RECADO_LOGIN_DAYS", 1..=365_u64) * DAY),
            signing_for: Duration::from_secs(reader.number("RECADO_SIGNING_KEY_DAYS", 1..=3650_u64) * DAY),
            shared,
            cost: Cost::default(),
        }
    }
}
