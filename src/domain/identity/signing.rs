//! The keys that access tokens are signed with.

use std::fmt;

use crate::domain::ids::SigningKeyId;
use crate::domain::time::Timestamp;

/// A signing key as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// The `kid` of its tokens.
    pub id: SigningKeyId,
    /// `EdDSA`…
    pub algorithm: String,
    /// The public half.
    pub public: Vec<u8>,
    /// The private half, encrypted by the vault.
    pub secret: Vec<u8>,
    /// When it was made: the newest one signs.
    pub created_at: Timestamp,
    /// When its last token has expired, once another signs: from then on it is swept away.
    pub retires_at: Option<Timestamp>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signing key {} ({})", self.id, self.algorithm)
    }
}
