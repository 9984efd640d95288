//! People as rows. Each change is read, judged and written before the next one: they may bear on each other.

use super::{Tx, keys, logins, tenants};
use crate::domain::error::Result;
use crate::domain::identity::{MailAddress, User};
use crate::domain::ids::{TenantId, UserId};
use crate::domain::time::Timestamp;
use crate::domain::write::Outcome;
use crate::domain::write::people::{Issue, NewOneTime, PeopleWrite, SaveUser, SignIn};
use crate::infra::store::batch::Item;
use crate::infra::store::batch::people::{self as rules, Seen, user_not_found};
use crate::infra::store::sqlite::read::users::{ONE_TIME, USER};
use crate::infra::store::sqlite::statement::{execute, row};
use crate::infra::store::views::people as views;

pub(super) const MAIL_TAKEN: &str = "select 1 from users where mail = ? and id <> ? and deleted_at is null";
pub(super) const OTHER_OWNER: &str = "select 1 from users where tenant_id = ? and id <> ? and role = 'owner' \
    and state = 'active' limit 1";
const INSERT: &str = "insert into users (id, tenant_id, mail, name, role, state, password, locale, pending_mail, failures, \
    locked_until, tokens_after, version, verified_at, created_at, updated_at, deleted_at) \
    values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
pub(super) const UPDATE: &str = "update users set mail = ?3, name = ?4, role = ?5, state = ?6, password = ?7, locale = ?8, \
    pending_mail = ?9, failures = ?10, locked_until = ?11, tokens_after = ?12, version = ?13, verified_at = ?14, \
    created_at = ?15, updated_at = ?16, deleted_at = ?17 where id = ?1 and tenant_id = ?2";
pub(super) const SPEND: &str = "update one_time_tokens set used_at = ?2 where id = ?1 and used_at is null";
pub(super) const VOID: &str = "update one_time_tokens set expires_at = min(expires_at, ?4) \
    where user_id = ?2 and purpose = ?3 and tenant_id = ?1 and used_at is null";
pub(super) const FORGET_TOKENS: &str = "delete from one_time_tokens where user_id = ?2 and tenant_id = ?1";
pub(super) const ISSUED_AFTER: &str = "select 1 from one_time_tokens where user_id = ?2 and purpose = ?3 \
    and tenant_id = ?1 and created_at > ?4 limit 1";
const ISSUE: &str = "insert into one_time_tokens (id, tenant_id, user_id, purpose, hash, mail, expires_at, created_at) \
    values (?, ?, ?, ?, ?, ?, ?, ?)";
pub(super) const TRIED: &str =
    "update users set failures = ?3, locked_until = ?4 where id = ?1 and tenant_id = ?2";

/// Applies changes in the order they came.
pub(super) fn people(tx: &mut Tx<'_>, items: &[Item<'_, PeopleWrite>]) -> Result<()> {
    for &(place, write) in items {
        let answer = one(tx, write)?;
        tx.batch.answer(place, answer);
    }
    Ok(())
}

/// The inner result is the write's; the outer `Err` is the database's.
fn one(tx: &mut Tx<'_>, write: &PeopleWrite) -> Result<Result<Outcome>> {
    match write {
        PeopleWrite::SaveUser(save) => save_user(tx, save),
        PeopleWrite::Issue(issue) => issue_one(tx, issue),
        PeopleWrite::SaveTenant(save) => tenants::save(tx, save),
        PeopleWrite::SignIn(tried) => sign_in(tx, tried),
        PeopleWrite::OpenLogin(open) => logins::open(tx, open),
        PeopleWrite::Rotate(rotate) => logins::rotate(tx, rotate).map(Ok),
        PeopleWrite::RevokeLogins(revoke) => logins::revoke(tx, revoke),
        PeopleWrite::RevokeKey(revoke) => keys::revoke(tx, revoke),
        PeopleWrite::RotateKey(rotate) => keys::rotate(tx, rotate),
        PeopleWrite::TouchKeys(used) => keys::touch(tx, used).map(Ok),
        PeopleWrite::AddSigningKey(add) => keys::add_signing(tx, add),
        PeopleWrite::RetireSigningKey(id, at) => keys::retire_signing(tx, *id, *at),
        PeopleWrite::Record(entry) => {
            tx.batch.note(Some(entry));
            Ok(Ok(Outcome::Done))
        }
    }
}

fn save_user(tx: &mut Tx<'_>, save: &SaveUser) -> Result<Result<Outcome>> {
    let tenant = save.user.tenant;
    if let Some(earlier) = tx.batch.stored.replay(tenant, save.idempotency.as_ref()) {
        return Ok(earlier);
    }
    if save.tenant.is_none()
        && let Err(refusal) = tx.batch.tenants.get(tenant)
    {
        return Ok(Err(refusal));
    }
    let user = match rules::judge(save, &look(tx, save)?) {
        Ok(user) => user,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Some(name) = &save.tenant {
        tenants::make(tx, tenant, Some(name), save.at)?;
        tenants::load(tx, &[tenant])?;
    }
    put(tx, &user, if save.expected.is_some() { UPDATE } else { INSERT })?;
    tokens(tx, save, &user)?;
    if let Some(which) = rules::ended(save, &user) {
        logins::end(tx, (tenant, user.id), which, save.at)?;
    }
    rules::tell(&mut tx.batch, save, &user)?;
    Ok(Ok(tx.batch.stored.keep(tenant, save.idempotency.as_ref(), &save.response, save.at)))
}

fn look(tx: &Tx<'_>, save: &SaveUser) -> Result<Seen> {
    let user = &save.user;
    let mut seen = Seen { before: find(tx, user.id)?, ..Seen::default() };
    if let Some(mail) = &user.mail {
        let taken = row(tx.conn, MAIL_TAKEN, |cells| {
            cells.text(mail.as_str()).id(user.id.0);
        });
        seen.mail_taken = taken?.is_some();
    }
    if let Some(spend) = &save.spend {
        let token = row(tx.conn, ONE_TIME, |cells| {
            cells.id(spend.id.0);
        });
        seen.token = token?.as_ref().map(views::one_time).transpose()?;
    }
    let owner = row(tx.conn, OTHER_OWNER, |cells| {
        cells.id(user.tenant.0).id(user.id.0);
    });
    seen.other_owner = owner?.is_some();
    Ok(seen)
}

fn find(tx: &Tx<'_>, user: UserId) -> Result<Option<User>> {
    let found = row(tx.conn, USER, |cells| {
        cells.id(user.0);
    });
    found?.as_ref().map(views::user).transpose()
}

/// Somebody of this tenant; another tenant's is not found.
pub(super) fn of_tenant(tx: &Tx<'_>, tenant: TenantId, user: UserId) -> Result<Option<User>> {
    Ok(find(tx, user)?.filter(|found| found.tenant == tenant))
}

fn put(tx: &Tx<'_>, user: &User, sql: &'static str) -> Result<()> {
    execute(tx.conn, sql, |cells| {
        cells.id(user.id.0).id(user.tenant.0).opt_text(user.mail.as_ref().map(MailAddress::as_str));
        cells.opt_text(user.name.as_ref().map(|name| name.as_str()));
        cells.text(user.role.as_str()).text(user.state.as_str());
        cells.opt_text(user.password.as_ref().map(|hash| hash.0.as_str())).text(user.locale.as_str());
        cells.opt_text(user.pending_mail.as_ref().map(MailAddress::as_str)).int(i64::from(user.failures));
        cells.opt_int(user.locked_until.map(|at| at.0)).opt_int(user.tokens_after.map(|at| at.0));
        cells.int(user.version).opt_int(user.verified_at.map(|at| at.0));
        cells.int(user.created_at.0).int(user.updated_at.0).opt_int(user.deleted_at.map(|at| at.0));
    })
    .map(drop)
}

fn tokens(tx: &Tx<'_>, save: &SaveUser, user: &User) -> Result<()> {
    if let Some(spend) = &save.spend {
        execute(tx.conn, SPEND, |cells| {
            cells.id(spend.id.0).int(save.at.0);
        })?;
    }
    if user.deleted_at.is_some() {
        execute(tx.conn, FORGET_TOKENS, |cells| {
            cells.id(user.tenant.0).id(user.id.0);
        })?;
    }
    save.issue.as_ref().map_or(Ok(()), |token| issue(tx, (user.tenant, user.id), token, save.at))
}

/// Earlier ones for the same purpose are good no more.
fn issue(tx: &Tx<'_>, (tenant, user): (TenantId, UserId), token: &NewOneTime, at: Timestamp) -> Result<()> {
    execute(tx.conn, VOID, |cells| {
        cells.id(tenant.0).id(user.0).text(token.purpose.as_str()).int(at.0);
    })?;
    execute(tx.conn, ISSUE, |cells| {
        cells.id(token.id.0).id(tenant.0).id(user.0).text(token.purpose.as_str()).blob(&token.hash);
        cells.opt_text(token.mail.as_ref().map(|mail| mail.as_str())).int(token.expires_at.0).int(at.0);
    })
    .map(drop)
}

fn issue_one(tx: &mut Tx<'_>, wanted: &Issue) -> Result<Result<Outcome>> {
    let of = (wanted.tenant, wanted.user);
    if of_tenant(tx, of.0, of.1)?.filter(|user| user.deleted_at.is_none()).is_none() {
        return Ok(Err(user_not_found()));
    }
    if let Some(bound) = wanted.not_after {
        let fresh = row(tx.conn, ISSUED_AFTER, |cells| {
            cells.id(of.0.0).id(of.1.0).text(wanted.token.purpose.as_str()).int(bound.0);
        });
        if fresh?.is_some() {
            return Ok(Ok(Outcome::Done));
        }
    }
    issue(tx, of, &wanted.token, wanted.at)?;
    rules::issued(&mut tx.batch, (of.0, wanted.shard), (of.1, &wanted.token), wanted.at)?;
    tx.batch.note(wanted.audit.as_deref());
    Ok(Ok(Outcome::Done))
}

fn sign_in(tx: &mut Tx<'_>, tried: &SignIn) -> Result<Result<Outcome>> {
    let Some(user) = of_tenant(tx, tried.tenant, tried.user)? else { return Ok(Err(user_not_found())) };
    let state = rules::sign_in(user.failures, user.locked_until, tried);
    if (state.failures, state.locked_until) != (user.failures, user.locked_until) {
        execute(tx.conn, TRIED, |cells| {
            cells.id(user.id.0).id(user.tenant.0).int(i64::from(state.failures));
            cells.opt_int(state.locked_until.map(|at| at.0));
        })?;
    }
    tx.batch.note(tried.audit.as_deref());
    Ok(Ok(Outcome::SignedIn(state)))
}
