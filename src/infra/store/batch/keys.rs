//! API keys and signing keys: how many there may be, and what a rotation leaves.

use super::Batch;
use crate::domain::error::{Error, Result};
use crate::domain::identity::ApiKeyView;
use crate::domain::ids::SigningKeyId;
use crate::domain::time::Timestamp;
use crate::domain::write::people::{AddKey, AddSigningKey, RotateKey};

pub(crate) fn key_not_found() -> Error {
    Error::not_found("key_not_found", "there is no such API key")
}

pub(crate) fn key_exists() -> Error {
    Error::conflict("key_exists", "this API key is stored already")
}

pub(crate) fn signing_key_not_found() -> Error {
    Error::not_found("signing_key_not_found", "there is no such signing key")
}

/// Whether a tenant with that many keys may have one more.
pub(crate) fn may_add(key: &AddKey, have: i64) -> Result<()> {
    if have < key.limit { Ok(()) } else { Err(Error::busy("key_limit", "no more API keys can be made")) }
}

/// Until when a key that is replaced stays good.
pub(crate) fn overlap(rotate: &RotateKey, old: Option<&ApiKeyView>) -> Result<Timestamp> {
    let old = old.ok_or_else(key_not_found)?;
    let good = old.revoked_at.is_none()
        && old.replaced_by.is_none()
        && old.expires_at.is_none_or(|expires| rotate.new.at < expires);
    if !good {
        return Err(Error::conflict("key_not_good", "this API key is revoked, expired or replaced already"));
    }
    Ok(old.expires_at.map_or(rotate.overlap_until, |expires| expires.min(rotate.overlap_until)))
}

/// Whether nobody has made a signing key meanwhile.
pub(crate) fn may_sign(add: &AddSigningKey, newest: Option<SigningKeyId>) -> Result<()> {
    if add.newest == newest {
        return Ok(());
    }
    Err(Error::conflict("changed_meanwhile", "another signing key was made meanwhile"))
}

/// With which sessions only, as a column holds it.
pub(crate) fn sessions(key: &AddKey) -> Result<Option<String>> {
    key.sessions.as_ref().map(serde_json::to_string).transpose().map_err(Error::bug)
}

/// A key was added.
pub(crate) fn added(batch: &mut Batch, key: &AddKey) {
    batch.note(key.audit.as_deref());
}
