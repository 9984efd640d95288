//! API keys and signing keys as rows.

use super::{Tx, tenants};
use crate::domain::error::Result;
use crate::domain::identity::ApiKeyView;
use crate::domain::ids::{KeyId, SigningKeyId, TenantId};
use crate::domain::time::Timestamp;
use crate::domain::write::Outcome;
use crate::domain::write::people::{AddKey, AddSigningKey, RevokeKey, RotateKey};
use crate::infra::store::TOUCHED_EVERY;
use crate::infra::store::batch::Item;
use crate::infra::store::batch::keys::{self as rules, key_exists, key_not_found};
use crate::infra::store::columns::{Columns, limit};
use crate::infra::store::sqlite::read::keys::API_KEY;
use crate::infra::store::sqlite::statement::{each, execute, row};
use crate::infra::store::views::people as views;

const ADD: &str = "insert into api_keys (id, tenant_id, hash, name, created_at, prefix, scopes, sessions, created_by, \
    expires_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing";
pub(super) const HAVE: &str = "select count(*) from api_keys where tenant_id = ? and revoked_at is null";
pub(super) const REVOKE: &str =
    "update api_keys set revoked_at = ?3 where id = ?1 and tenant_id = ?2 and revoked_at is null";
pub(super) const REPLACE: &str =
    "update api_keys set expires_at = ?3, replaced_by = ?4 where id = ?1 and tenant_id = ?2";
pub(super) const TOUCH: &str = "update api_keys set last_used_at = ?2 where id = ?1 \
    and (last_used_at is null or last_used_at <= ?2 - ?3)";
const NEWEST: &str = "select id from signing_keys order by created_at desc, id desc limit 1";
const ADD_SIGNING: &str = "insert into signing_keys (id, algorithm, public, secret, created_at, retires_at) \
    values (?, ?, ?, ?, ?, ?)";
pub(super) const RETIRE: &str = "update signing_keys set retires_at = ?2 where id = ?1";

/// Stores API keys.
pub(super) fn keys(tx: &mut Tx<'_>, items: &[Item<'_, AddKey>]) -> Result<()> {
    for &(place, key) in items {
        let answer = add(tx, key)?;
        tx.batch.answer(place, answer);
    }
    Ok(())
}

fn add(tx: &mut Tx<'_>, key: &AddKey) -> Result<Result<Outcome>> {
    let have = row(tx.conn, HAVE, |cells| {
        cells.id(key.tenant.0);
    });
    let have = have?.map_or(Ok(0), |row| row.int(0))?;
    if let Err(refusal) = rules::may_add(key, have) {
        // One that is there already is not one more.
        let again = row(tx.conn, API_KEY, |cells| {
            cells.id(key.id.0).id(key.tenant.0);
        });
        return Ok(Err(if again?.is_some() { key_exists() } else { refusal }));
    }
    tenants::make(tx, key.tenant, None, key.at)?;
    tenants::load(tx, &[key.tenant])?;
    insert(tx, key)
}

fn insert(tx: &mut Tx<'_>, key: &AddKey) -> Result<Result<Outcome>> {
    let sessions = rules::sessions(key)?;
    let added = execute(tx.conn, ADD, |cells| {
        cells.id(key.id.0).id(key.tenant.0).blob(&key.hash).text(&key.name).int(key.at.0);
        cells.text(&key.prefix).text(&key.scopes.to_string()).opt_text(sessions.as_deref());
        cells.opt_text(key.created_by.map(|actor| actor.to_string()).as_deref());
        cells.opt_int(key.expires_at.map(|at| at.0));
    })?;
    if added == 0 {
        return Ok(Err(key_exists()));
    }
    rules::added(&mut tx.batch, key);
    Ok(Ok(Outcome::Done))
}

fn find(tx: &Tx<'_>, tenant: TenantId, key: KeyId) -> Result<Option<ApiKeyView>> {
    let found = row(tx.conn, API_KEY, |cells| {
        cells.id(key.0).id(tenant.0);
    });
    found?.as_ref().map(views::api_key).transpose()
}

/// A key is no more.
pub(super) fn revoke(tx: &mut Tx<'_>, revoke: &RevokeKey) -> Result<Result<Outcome>> {
    if find(tx, revoke.tenant, revoke.id)?.is_none() {
        return Ok(Err(key_not_found()));
    }
    let revoked = execute(tx.conn, REVOKE, |cells| {
        cells.id(revoke.id.0).id(revoke.tenant.0).int(revoke.at.0);
    })?;
    tx.batch.note(revoke.audit.as_deref().filter(|_| revoked > 0));
    Ok(Ok(Outcome::Done))
}

/// A key takes another's place.
pub(super) fn rotate(tx: &mut Tx<'_>, rotate: &RotateKey) -> Result<Result<Outcome>> {
    let old = find(tx, rotate.new.tenant, rotate.old)?;
    let until = match rules::overlap(rotate, old.as_ref()) {
        Ok(until) => until,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let answer = insert(tx, &rotate.new)?;
    if answer.is_ok() {
        execute(tx.conn, REPLACE, |cells| {
            cells.id(rotate.old.0).id(rotate.new.tenant.0).int(until.0).id(rotate.new.id.0);
        })?;
    }
    Ok(answer)
}

/// Keys were used.
pub(super) fn touch(tx: &Tx<'_>, used: &[(KeyId, Timestamp)]) -> Result<Outcome> {
    let every = limit(usize::try_from(TOUCHED_EVERY.as_millis()).unwrap_or(usize::MAX));
    each(tx.conn, TOUCH, used, |(key, at), cells| {
        cells.id(key.0).int(at.0).int(every);
    })?;
    Ok(Outcome::Done)
}

/// A key to sign with, unless somebody made one meanwhile.
pub(super) fn add_signing(tx: &Tx<'_>, add: &AddSigningKey) -> Result<Result<Outcome>> {
    let newest = row(tx.conn, NEWEST, |_none| ())?.map(|row| row.id(0)).transpose()?.map(SigningKeyId);
    if let Err(refusal) = rules::may_sign(add, newest) {
        return Ok(Err(refusal));
    }
    let key = &add.key;
    execute(tx.conn, ADD_SIGNING, |cells| {
        cells.id(key.id.0).text(&key.algorithm).blob(&key.public).blob(&key.secret);
        cells.int(key.created_at.0).opt_int(key.retires_at.map(|at| at.0));
    })?;
    Ok(Ok(Outcome::Done))
}

/// When a signing key's last token will have expired.
pub(super) fn retire_signing(tx: &Tx<'_>, id: SigningKeyId, at: Timestamp) -> Result<Result<Outcome>> {
    let known = execute(tx.conn, RETIRE, |cells| {
        cells.id(id.0).int(at.0);
    })?;
    Ok(if known > 0 { Ok(Outcome::Done) } else { Err(rules::signing_key_not_found()) })
}
