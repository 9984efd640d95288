//! Access tokens: short-lived, signed, read without asking anybody.
//!
//! [`AccessTokens`] is the port; [`jwt`] is the one adapter. What every adapter promises: a token opens only under the key
//! that its `kid` names, only with the algorithm of that key (never one that the token asks for), only for our issuer
//! and audience, only as what it was made for (`token_use`), and only within its time.

mod crypto;
pub mod jwt;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::domain::error::Result;
use crate::domain::time::Timestamp;

/// How far clocks may differ, in seconds.
pub const LEEWAY: i64 = 30;

/// The longest token that is looked at.
pub const LONGEST: usize = 2048;

/// Who signs, for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realm {
    /// `iss`.
    pub issuer: String,
    /// `aud`.
    pub audience: String,
}

impl Default for Realm {
    fn default() -> Self {
        Self { issuer: "recado".to_owned(), audience: "recado".to_owned() }
    }
}

/// What a token says, as on the wire. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: Uuid,
    /// Whose data.
    pub tenant: Uuid,
    /// The user's role.
    pub role: String,
    /// What the token may be used for, separated by spaces.
    pub scope: String,
    /// The login it was made for: the family of refresh tokens.
    pub family: Uuid,
    /// This token.
    pub jti: Uuid,
    /// Made.
    pub iat: i64,
    /// Not before.
    pub nbf: i64,
    /// Not after.
    pub exp: i64,
    /// What it is made for: `access`.
    pub token_use: String,
}

impl Claims {
    /// The only use that opens the API.
    pub const ACCESS: &'static str = "access";
}

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519: a private half signs, the public half is for everybody.
    EdDsa,
    /// One secret for both: for compatibility.
    Hs256,
}

impl Algorithm {
    /// Its name in tokens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Hs256 => "HS256",
        }
    }
}

/// What verifies.
#[derive(Clone)]
pub struct VerifyingKey {
    /// Its name in tokens.
    pub kid: String,
    /// How it signs.
    pub algorithm: Algorithm,
    /// The public half, or the shared secret.
    pub material: Zeroizing<Vec<u8>>,
}

/// What signs.
#[derive(Clone)]
pub struct SigningKey {
    /// Its name in tokens.
    pub kid: String,
    /// How it signs.
    pub algorithm: Algorithm,
    /// The private half (PKCS#8), or the shared secret.
    pub material: Zeroizing<Vec<u8>>,
}

impl SigningKey {
    /// One secret that both signs and opens, under a name that tells nothing of it and is the same on every node.
    #[must_use]
    pub fn shared(secret: &[u8]) -> Self {
        let digest =
            Sha256::new().chain_update(b"recado kid of a shared secret").chain_update(secret).finalize();
        let kid = digest[..8].iter().fold("hs256-".to_owned(), |kid, byte| format!("{kid}{byte:02x}"));
        Self { kid, algorithm: Algorithm::Hs256, material: Zeroizing::new(secret.to_vec()) }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({}, {})", self.kid, self.algorithm.as_str())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, {})", self.kid, self.algorithm.as_str())
    }
}

/// The halves of a new key.
pub struct Pair {
    /// For everybody.
    pub public: Vec<u8>,
    /// PKCS#8, for whoever signs.
    pub secret: Zeroizing<Vec<u8>>,
}

/// Signs and opens tokens.
pub trait AccessTokens: Send + Sync + 'static {
    /// A new pair for [`Algorithm::EdDsa`].
    ///
    /// # Errors
    /// `Bug` when the machine gives no random numbers.
    fn make_pair(&self) -> Result<Pair>;

    /// The text of a token.
    ///
    /// # Errors
    /// `Bug` when the key cannot sign.
    fn sign(&self, key: &SigningKey, claims: &Claims) -> Result<String>;

    /// The key a token says it is signed with; nothing of it is proved yet.
    ///
    /// # Errors
    /// `Unauthorized` when it is no token at all.
    fn kid(&self, token: &str) -> Result<String>;

    /// What a token says, if all of it holds at this time.
    ///
    /// # Errors
    /// `Unauthorized`: `token_expired` when that alone is wrong, else `token_invalid`.
    fn open(&self, key: &VerifyingKey, token: &str, at: Timestamp) -> Result<Claims>;
}
