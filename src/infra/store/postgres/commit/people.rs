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
use crate::infra::store::postgres::read::users::{ONE_TIME, USER};
use crate::infra::store::postgres::sql::{Cells, execute, row};
use crate::infra::store::views::people as views;

const MAIL_TAKEN: &str = "select id from users where mail = $1 and id <> $2 and deleted_at is null";
const OTHER_OWNER: &str = "select id from users where tenant_id = $1 and id <> $2 and role = 'owner' \
    and state = 'active' limit 1";
const INSERT: &str = "insert into users (id, tenant_id, mail, name, role, state, password, locale, pending_mail, failures, \
    locked_until, tokens_after, version, verified_at, created_at, updated_at, deleted_at) \
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
const UPDATE: &str = "update users set mail = $3, name = $4, role = $5, state = $6, password = $7, locale = $8, \
    pending_mail = $9, failures = $10, locked_until = $11, tokens_after = $12, version = $13, verified_at = $14, \
    created_at = $15, updated_at = $16, deleted_at = $17 where id = $1 and tenant_id = $2";
const SPEND: &str = "update one_time_tokens set used_at = $2 where id = $1 and used_at is null";
const VOID: &str = "update one_time_tokens set expires_at = least(expires_at, $4) \
    where user_id = $2 and purpose = $3 and tenant_id = $1 and used_at is null";
const FORGET_TOKENS: &str = "delete from one_time_tokens where user_id = $2 and tenant_id = $1";
const ISSUED_AFTER: &str = "select id from one_time_tokens where user_id = $2 and purpose = $3 and tenant_id = $1 \
    and created_at > $4 limit 1";
const ISSUE: &str = "insert into one_time_tokens (id, tenant_id, user_id, purpose, hash, mail, expires_at, created_at) \
    values ($1, $2, $3, $4, $5, $6, $7, $8)";
const TRIED: &str = "update users set failures = $3, locked_until = $4 where id = $1 and tenant_id = $2";

/// Applies changes in the order they came.
pub(super) async fn people(tx: &mut Tx<'_>, items: &[Item<'_, PeopleWrite>]) -> Result<()> {
    for &(place, write) in items {
        let answer = one(tx, write).await?;
        tx.batch.answer(place, answer);
    }
    Ok(())
}

/// The inner result is the write's; the outer `Err` is the database's.
async fn one(tx: &mut Tx<'_>, write: &PeopleWrite) -> Result<Result<Outcome>> {
    match write {
        PeopleWrite::SaveUser(save) => save_user(tx, save).await,
        PeopleWrite::Issue(issue) => issue_one(tx, issue).await,
        PeopleWrite::SaveTenant(save) => tenants::save(tx, save).await,
        PeopleWrite::SignIn(tried) => sign_in(tx, tried).await,
        PeopleWrite::OpenLogin(open) => logins::open(tx, open).await,
        PeopleWrite::Rotate(rotate) => logins::rotate(tx, rotate).await.map(Ok),
        PeopleWrite::RevokeLogins(revoke) => logins::revoke(tx, revoke).await,
        PeopleWrite::RevokeKey(revoke) => keys::revoke(tx, revoke).await,
        PeopleWrite::RotateKey(rotate) => keys::rotate(tx, rotate).await,
        PeopleWrite::TouchKeys(used) => keys::touch(tx, used).await.map(Ok),
        PeopleWrite::AddSigningKey(add) => keys::add_signing(tx, add).await,
        PeopleWrite::RetireSigningKey(id, at) => keys::retire_signing(tx, *id, *at).await,
        PeopleWrite::Record(entry) => {
            tx.batch.note(Some(entry));
            Ok(Ok(Outcome::Done))
        }
    }
}

async fn save_user(tx: &mut Tx<'_>, save: &SaveUser) -> Result<Result<Outcome>> {
    let tenant = save.user.tenant;
    if let Some(earlier) = tx.batch.stored.replay(tenant, save.idempotency.as_ref()) {
        return Ok(earlier);
    }
    if save.tenant.is_none()
        && let Err(refusal) = tx.batch.tenants.get(tenant)
    {
        return Ok(Err(refusal));
    }
    let user = match rules::judge(save, &look(tx, save).await?) {
        Ok(user) => user,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Some(name) = &save.tenant {
        tenants::make(tx, tenant, name, save.at).await?;
    }
    put(tx, &user, if save.expected.is_some() { UPDATE } else { INSERT }).await?;
    tokens(tx, save, &user).await?;
    if let Some(which) = rules::ended(save, &user) {
        logins::end(tx, (tenant, user.id), which, save.at).await?;
    }
    rules::tell(&mut tx.batch, save, &user)?;
    Ok(Ok(tx.batch.stored.keep(tenant, save.idempotency.as_ref(), &save.response, save.at)))
}

async fn look(tx: &mut Tx<'_>, save: &SaveUser) -> Result<Seen> {
    let user = &save.user;
    let mut seen = Seen { before: find(tx, user.id).await?, ..Seen::default() };
    if let Some(mail) = &user.mail {
        let cells = Cells::new().text(mail.as_str()).id(user.id.0);
        seen.mail_taken = row(tx.conn, MAIL_TAKEN, cells).await?.is_some();
    }
    if let Some(spend) = &save.spend {
        let token = row(tx.conn, ONE_TIME, Cells::new().id(spend.id.0)).await?;
        seen.token = token.as_ref().map(views::one_time).transpose()?;
    }
    let cells = Cells::new().id(user.tenant.0).id(user.id.0);
    seen.other_owner = row(tx.conn, OTHER_OWNER, cells).await?.is_some();
    Ok(seen)
}

async fn find(tx: &mut Tx<'_>, user: UserId) -> Result<Option<User>> {
    let found = row(tx.conn, USER, Cells::new().id(user.0)).await?;
    found.as_ref().map(views::user).transpose()
}

/// Somebody of this tenant; another tenant's is not found.
pub(super) async fn of_tenant(tx: &mut Tx<'_>, tenant: TenantId, user: UserId) -> Result<Option<User>> {
    Ok(find(tx, user).await?.filter(|found| found.tenant == tenant))
}

async fn put(tx: &mut Tx<'_>, user: &User, sql: &'static str) -> Result<()> {
    let cells = Cells::new()
        .id(user.id.0)
        .id(user.tenant.0)
        .opt_text(user.mail.as_ref().map(MailAddress::as_str))
        .opt_text(user.name.as_ref().map(|name| name.as_str()))
        .text(user.role.as_str())
        .text(user.state.as_str())
        .opt_text(user.password.as_ref().map(|hash| hash.0.as_str()))
        .text(user.locale.as_str())
        .opt_text(user.pending_mail.as_ref().map(MailAddress::as_str))
        .int(i64::from(user.failures))
        .opt_int(user.locked_until.map(|at| at.0))
        .opt_int(user.tokens_after.map(|at| at.0))
        .int(user.version)
        .opt_int(user.verified_at.map(|at| at.0))
        .int(user.created_at.0)
        .int(user.updated_at.0)
        .opt_int(user.deleted_at.map(|at| at.0));
    execute(tx.conn, sql, cells).await.map(drop)
}

async fn tokens(tx: &mut Tx<'_>, save: &SaveUser, user: &User) -> Result<()> {
    if let Some(spend) = &save.spend {
        execute(tx.conn, SPEND, Cells::new().id(spend.id.0).int(save.at.0)).await?;
    }
    if user.deleted_at.is_some() {
        execute(tx.conn, FORGET_TOKENS, Cells::new().id(user.tenant.0).id(user.id.0)).await?;
    }
    match &save.issue {
        Some(token) => issue(tx, (user.tenant, user.id), token, save.at).await,
        None => Ok(()),
    }
}

/// Earlier ones for the same purpose are good no more.
async fn issue(
    tx: &mut Tx<'_>,
    (tenant, user): (TenantId, UserId),
    token: &NewOneTime,
    at: Timestamp,
) -> Result<()> {
    let purpose = token.purpose.as_str();
    execute(tx.conn, VOID, Cells::new().id(tenant.0).id(user.0).text(purpose).int(at.0)).await?;
    let cells = Cells::new()
        .id(token.id.0)
        .id(tenant.0)
        .id(user.0)
        .text(purpose)
        .blob(&token.hash)
        .opt_text(token.mail.as_ref().map(MailAddress::as_str))
        .int(token.expires_at.0)
        .int(at.0);
    execute(tx.conn, ISSUE, cells).await.map(drop)
}

async fn issue_one(tx: &mut Tx<'_>, wanted: &Issue) -> Result<Result<Outcome>> {
    let (tenant, user) = (wanted.tenant, wanted.user);
    if of_tenant(tx, tenant, user).await?.filter(|user| user.deleted_at.is_none()).is_none() {
        return Ok(Err(user_not_found()));
    }
    if let Some(bound) = wanted.not_after {
        let cells = Cells::new().id(tenant.0).id(user.0).text(wanted.token.purpose.as_str()).int(bound.0);
        if row(tx.conn, ISSUED_AFTER, cells).await?.is_some() {
            return Ok(Ok(Outcome::Done));
        }
    }
    issue(tx, (tenant, user), &wanted.token, wanted.at).await?;
    rules::issued(&mut tx.batch, (tenant, wanted.shard), (user, &wanted.token), wanted.at)?;
    tx.batch.note(wanted.audit.as_deref());
    Ok(Ok(Outcome::Done))
}

async fn sign_in(tx: &mut Tx<'_>, tried: &SignIn) -> Result<Result<Outcome>> {
    let Some(user) = of_tenant(tx, tried.tenant, tried.user).await? else {
        return Ok(Err(user_not_found()));
    };
    let state = rules::sign_in(user.failures, user.locked_until, tried);
    if (state.failures, state.locked_until) != (user.failures, user.locked_until) {
        let cells = Cells::new().id(user.id.0).id(user.tenant.0).int(i64::from(state.failures));
        execute(tx.conn, TRIED, cells.opt_int(state.locked_until.map(|at| at.0))).await?;
    }
    tx.batch.note(tried.audit.as_deref());
    Ok(Ok(Outcome::SignedIn(state)))
}
