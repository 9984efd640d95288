//! API keys and signing keys as rows.

use super::Tx;
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
use crate::infra::store::postgres::read::keys::API_KEY;
use crate::infra::store::postgres::sql::{Cells, execute, row};
use crate::infra::store::views::people as views;

const ADD: &str = "insert into api_keys (id, tenant_id, hash, name, created_at, prefix, scopes, sessions, created_by, \
    expires_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing";
const HAVE: &str = "select count(*) from api_keys where tenant_id = $1 and revoked_at is null";
const REVOKE: &str =
    "update api_keys set revoked_at = $3 where id = $1 and tenant_id = $2 and revoked_at is null";
const REPLACE: &str =
    "update api_keys set expires_at = $3, replaced_by = $4 where id = $1 and tenant_id = $2";
/// In one order, so that two nodes do not wait for each other in a circle.
const TOUCH: &str = "with used as (select k.id, v.at from unnest($1::uuid[], $2::bigint[]) v(id, at) join api_keys k \
    on k.id = v.id where k.last_used_at is null or k.last_used_at <= v.at - $3 order by k.id for update of k skip locked) \
    update api_keys k set last_used_at = used.at from used where k.id = used.id";
/// Of two nodes that make a key at once the later one sees the earlier one's.
const SIGNING_LOCK: &str = "select pg_advisory_xact_lock(7234900114)::text";
const NEWEST: &str = "select id from signing_keys order by created_at desc, id desc limit 1";
const ADD_SIGNING: &str = "insert into signing_keys (id, algorithm, public, secret, created_at, retires_at) \
    values ($1, $2, $3, $4, $5, $6)";
const RETIRE: &str = "update signing_keys set retires_at = $2 where id = $1";

/// Stores API keys.
pub(super) async fn keys(tx: &mut Tx<'_>, items: &[Item<'_, AddKey>]) -> Result<()> {
    for &(place, key) in items {
        let answer = add(tx, key).await?;
        tx.batch.answer(place, answer);
    }
    Ok(())
}

async fn add(tx: &mut Tx<'_>, key: &AddKey) -> Result<Result<Outcome>> {
    let have = row(tx.conn, HAVE, Cells::new().id(key.tenant.0)).await?;
    let have = have.map_or(Ok(0), |row| row.int(0))?;
    if let Err(refusal) = rules::may_add(key, have) {
        // One that is there already is not one more.
        let again = find(tx, key.tenant, key.id).await?.is_some();
        return Ok(Err(if again { key_exists() } else { refusal }));
    }
    insert(tx, key).await
}

async fn insert(tx: &mut Tx<'_>, key: &AddKey) -> Result<Result<Outcome>> {
    let cells = Cells::new()
        .id(key.id.0)
        .id(key.tenant.0)
        .blob(&key.hash)
        .text(&key.name)
        .int(key.at.0)
        .text(&key.prefix)
        .text(&key.scopes.to_string())
        .opt_text(rules::sessions(key)?.as_deref())
        .opt_text(key.created_by.map(|actor| actor.to_string()).as_deref())
        .opt_int(key.expires_at.map(|at| at.0));
    if execute(tx.conn, ADD, cells).await? == 0 {
        return Ok(Err(key_exists()));
    }
    rules::added(&mut tx.batch, key);
    Ok(Ok(Outcome::Done))
}

async fn find(tx: &mut Tx<'_>, tenant: TenantId, key: KeyId) -> Result<Option<ApiKeyView>> {
    let found = row(tx.conn, API_KEY, Cells::new().id(key.0).id(tenant.0)).await?;
    found.as_ref().map(views::api_key).transpose()
}

/// A key is no more.
pub(super) async fn revoke(tx: &mut Tx<'_>, revoke: &RevokeKey) -> Result<Result<Outcome>> {
    if find(tx, revoke.tenant, revoke.id).await?.is_none() {
        return Ok(Err(key_not_found()));
    }
    let cells = Cells::new().id(revoke.id.0).id(revoke.tenant.0).int(revoke.at.0);
    let revoked = execute(tx.conn, REVOKE, cells).await?;
    tx.batch.note(revoke.audit.as_deref().filter(|_| revoked > 0));
    Ok(Ok(Outcome::Done))
}

/// A key takes another's place.
pub(super) async fn rotate(tx: &mut Tx<'_>, rotate: &RotateKey) -> Result<Result<Outcome>> {
    let old = find(tx, rotate.new.tenant, rotate.old).await?;
    let until = match rules::overlap(rotate, old.as_ref()) {
        Ok(until) => until,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let answer = insert(tx, &rotate.new).await?;
    if answer.is_ok() {
        let cells = Cells::new().id(rotate.old.0).id(rotate.new.tenant.0).int(until.0).id(rotate.new.id.0);
        execute(tx.conn, REPLACE, cells).await?;
    }
    Ok(answer)
}

/// Keys were used. One that another node is writing down at the same moment is left to it.
pub(super) async fn touch(tx: &mut Tx<'_>, used: &[(KeyId, Timestamp)]) -> Result<Outcome> {
    let cells = Cells::new()
        .ids(used.iter().map(|(key, _)| key.0))
        .ints(used.iter().map(|(_, at)| at.0))
        .int(limit(usize::try_from(TOUCHED_EVERY.as_millis()).unwrap_or(usize::MAX)));
    execute(tx.conn, TOUCH, cells).await?;
    Ok(Outcome::Done)
}

/// A key to sign with, unless somebody made one meanwhile.
pub(super) async fn add_signing(tx: &mut Tx<'_>, add: &AddSigningKey) -> Result<Result<Outcome>> {
    row(tx.conn, SIGNING_LOCK, Cells::new()).await?;
    let newest = row(tx.conn, NEWEST, Cells::new()).await?.map(|row| row.id(0)).transpose()?;
    if let Err(refusal) = rules::may_sign(add, newest.map(SigningKeyId)) {
        return Ok(Err(refusal));
    }
    let key = &add.key;
    let cells = Cells::new()
        .id(key.id.0)
        .text(&key.algorithm)
        .blob(&key.public)
        .blob(&key.secret)
        .int(key.created_at.0)
        .opt_int(key.retires_at.map(|at| at.0));
    execute(tx.conn, ADD_SIGNING, cells).await?;
    Ok(Ok(Outcome::Done))
}

/// When a signing key's last token will have expired.
pub(super) async fn retire_signing(
    tx: &mut Tx<'_>,
    id: SigningKeyId,
    at: Timestamp,
) -> Result<Result<Outcome>> {
    let known = execute(tx.conn, RETIRE, Cells::new().id(id.0).int(at.0)).await?;
    Ok(if known > 0 { Ok(Outcome::Done) } else { Err(rules::signing_key_not_found()) })
}
