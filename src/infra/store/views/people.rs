//! Rows of people, logins and keys: which column is what.

use crate::domain::error::{Error, Result};
use crate::domain::identity::{
    Actor, ApiKeyView, AuditView, KeyView, Login, OneTime, PasswordHash, SigningKey, Target, TenantView, User,
};
use crate::domain::ids::{AuditId, KeyId, LoginId, OneTimeId, SessionId, SigningKeyId, TenantId, UserId};
use crate::domain::time::Timestamp;
use crate::infra::store::batch::logins::Family;
use crate::infra::store::columns::{Columns, narrow};

fn parsed<T: std::str::FromStr<Err = Error>>(row: &impl Columns, column: usize) -> Result<Option<T>> {
    row.opt_str(column)?.map(str::parse).transpose().map_err(Error::bug)
}

fn moment(row: &impl Columns, column: usize) -> Result<Option<Timestamp>> {
    Ok(row.opt_int(column)?.map(Timestamp))
}

/// A tenant.
pub(crate) fn tenant(row: &impl Columns) -> Result<TenantView> {
    Ok(TenantView {
        tenant_id: TenantId(row.id(0)?),
        name: row.opt_text(1)?,
        created_at: Timestamp(row.int(2)?),
        suspended_at: moment(row, 3)?,
    })
}

/// A person.
pub(crate) fn user(row: &impl Columns) -> Result<User> {
    Ok(User {
        id: UserId(row.id(0)?),
        tenant: TenantId(row.id(1)?),
        mail: parsed(row, 2)?,
        name: parsed(row, 3)?,
        role: row.parsed(4)?,
        state: row.parsed(5)?,
        password: row.opt_text(6)?.map(PasswordHash),
        locale: row.parsed(7)?,
        pending_mail: parsed(row, 8)?,
        failures: narrow(row.int(9)?)?,
        locked_until: moment(row, 10)?,
        tokens_after: moment(row, 11)?,
        version: row.int(12)?,
        verified_at: moment(row, 13)?,
        created_at: Timestamp(row.int(14)?),
        updated_at: Timestamp(row.int(15)?),
        deleted_at: moment(row, 16)?,
    })
}

/// A one-time token.
pub(crate) fn one_time(row: &impl Columns) -> Result<OneTime> {
    Ok(OneTime {
        id: OneTimeId(row.id(0)?),
        tenant: TenantId(row.id(1)?),
        user: UserId(row.id(2)?),
        purpose: row.parsed(3)?,
        mail: parsed(row, 4)?,
        expires_at: Timestamp(row.int(5)?),
        used_at: moment(row, 6)?,
        created_at: Timestamp(row.int(7)?),
    })
}

/// A login.
pub(crate) fn login(row: &impl Columns) -> Result<Login> {
    Ok(Login {
        login_id: LoginId(row.id(0)?),
        tenant_id: TenantId(row.id(1)?),
        user_id: UserId(row.id(2)?),
        generation: row.int(3)?,
        user_agent: row.text(4)?.to_owned(),
        created_at: Timestamp(row.int(5)?),
        last_used_at: Timestamp(row.int(6)?),
        expires_at: Timestamp(row.int(7)?),
        revoked_at: moment(row, 8)?,
        revoked_reason: row.opt_text(9)?,
    })
}

/// A login with its hashes, and whether its person or tenant is barred.
pub(crate) fn family(row: &impl Columns) -> Result<Family> {
    Ok(Family {
        login: login(row)?,
        current: row.blob(10)?.to_vec(),
        previous: row.opt_blob(11)?.map(<[u8]>::to_vec),
        rotated_at: moment(row, 12)?,
        barred: row.int(13)? != 0,
    })
}

fn sessions(row: &impl Columns, column: usize) -> Result<Option<Vec<SessionId>>> {
    row.opt_str(column)?.map(serde_json::from_str).transpose().map_err(Error::bug)
}

/// A key, as authentication needs it.
pub(crate) fn key(row: &impl Columns) -> Result<KeyView> {
    let tenant = TenantId(row.id(0)?);
    let scopes: crate::domain::identity::Scopes = row.parsed(2)?;
    Ok(KeyView {
        tenant,
        id: KeyId(row.id(1)?),
        scopes: scopes.within(tenant),
        sessions: sessions(row, 3)?.map(Into::into),
        expires_at: moment(row, 4)?,
        revoked_at: moment(row, 5)?,
        tenant_suspended: row.int(6)? != 0,
    })
}

/// A key, as lists show it.
pub(crate) fn api_key(row: &impl Columns) -> Result<ApiKeyView> {
    let scopes: crate::domain::identity::Scopes = row.parsed(3)?;
    Ok(ApiKeyView {
        key_id: KeyId(row.id(0)?),
        name: row.text(1)?.to_owned(),
        prefix: row.text(2)?.to_owned(),
        scopes: scopes.within(TenantId(row.id(11)?)),
        session_ids: sessions(row, 4)?,
        created_by: parsed(row, 5)?,
        created_at: Timestamp(row.int(6)?),
        expires_at: moment(row, 7)?,
        last_used_at: moment(row, 8)?,
        revoked_at: moment(row, 9)?,
        replaced_by: row.opt_id(10)?.map(KeyId),
    })
}

/// A signing key.
pub(crate) fn signing_key(row: &impl Columns) -> Result<SigningKey> {
    Ok(SigningKey {
        id: SigningKeyId(row.id(0)?),
        algorithm: row.text(1)?.to_owned(),
        public: row.blob(2)?.to_vec(),
        secret: row.blob(3)?.to_vec(),
        created_at: Timestamp(row.int(4)?),
        retires_at: moment(row, 5)?,
    })
}

/// An entry of the audit log.
pub(crate) fn audit(row: &impl Columns) -> Result<AuditView> {
    let target = row.opt_text(5)?.zip(row.opt_text(6)?);
    Ok(AuditView {
        audit_id: AuditId(row.id(0)?),
        at: Timestamp(row.int(1)?),
        actor: Actor { kind: row.parsed(2)?, id: row.opt_id(3)? },
        action: row.text(4)?.to_owned(),
        target: target.map(|(kind, id)| Target { kind, id }),
        request_id: row.opt_text(7)?,
        client: row.opt_text(8)?,
        detail: serde_json::from_str(row.text(9)?).map_err(Error::bug)?,
    })
}
