//! What may become of people: states, versions, tokens that are spent, the last owner.
//!
//! Promises: a refusal is decided from what the transaction read under the tenant's lock, before anything is written. A
//! foreign tenant's people are not found.

use serde::Serialize;

use super::Batch;
use crate::domain::error::{Error, Kind, Result};
use crate::domain::event::EventType;
use crate::domain::identity::{Locale, OneTime, Purpose, Role, User, UserState};
use crate::domain::ids::{OneTimeId, Shard, TenantId, UserId};
use crate::domain::time::Timestamp;
use crate::domain::write::people::{
    LockPolicy, NewOneTime, Revocation, SaveUser, SignIn, SignInState, Spend,
};

/// What is stored that bears on a change of somebody.
#[derive(Default)]
pub(crate) struct Seen {
    /// Who has this id, of whatever tenant.
    pub(crate) before: Option<User>,
    /// Whether somebody else has the mail address.
    pub(crate) mail_taken: bool,
    /// The token to be spent, of whatever tenant.
    pub(crate) token: Option<OneTime>,
    /// Whether the tenant has another owner who may log in.
    pub(crate) other_owner: bool,
}

pub(crate) fn user_not_found() -> Error {
    Error::not_found("user_not_found", "there is no such user")
}

pub(crate) fn login_not_found() -> Error {
    Error::not_found("login_not_found", "there is no such login")
}

fn changed_meanwhile() -> Error {
    Error::conflict("changed_meanwhile", "somebody else has changed it meanwhile")
}

/// Somebody as they are to be stored.
pub(crate) fn judge(save: &SaveUser, seen: &Seen) -> Result<User> {
    spend(save, seen)?;
    let mut user = save.user.clone();
    match (save.expected, &seen.before) {
        (None, None) => begin(&mut user)?,
        (None, Some(_)) => return Err(changed_meanwhile()),
        (Some(version), Some(before)) if before.tenant == user.tenant => {
            go_on(&mut user, before, version, seen, save.unlock)?;
        }
        (Some(_), _) => return Err(user_not_found()),
    }
    if seen.mail_taken && user.state != UserState::Deleted {
        let mut refusal = Error::conflict("mail_taken", "somebody else has this mail address");
        refusal.field = Some("email".to_owned());
        return Err(refusal);
    }
    user.version += 1;
    user.updated_at = save.at;
    if user.state == UserState::Deleted {
        forget(&mut user, save.at);
    }
    Ok(user)
}

fn begin(user: &mut User) -> Result<()> {
    if !user.state.may_begin() {
        return Err(Error::bug("nobody begins like this"));
    }
    (user.version, user.failures, user.locked_until) = (0, 0, None);
    Ok(())
}

fn go_on(user: &mut User, before: &User, version: i64, seen: &Seen, unlock: bool) -> Result<()> {
    if before.version != version {
        return Err(changed_meanwhile());
    }
    if !before.state.may_become(user.state) {
        let text = format!("somebody {} cannot become {}", before.state, user.state);
        return Err(Error::conflict("user_state", text));
    }
    if before.is_active_owner() && !user.is_active_owner() && !seen.other_owner {
        return Err(Error::conflict("last_owner", "a tenant keeps one active owner at least"));
    }
    user.version = before.version;
    user.created_at = before.created_at;
    user.tokens_after = user.tokens_after.max(before.tokens_after);
    (user.failures, user.locked_until) =
        if unlock { (0, None) } else { (before.failures, before.locked_until) };
    Ok(())
}

/// Nothing that says who it was is kept.
fn forget(user: &mut User, at: Timestamp) {
    user.deleted_at = Some(at);
    user.tokens_after = Some(at);
    (user.mail, user.pending_mail, user.name, user.password) = (None, None, None, None);
}

fn spend(save: &SaveUser, seen: &Seen) -> Result<()> {
    let Some(Spend { id, purpose }) = save.spend else { return Ok(()) };
    let refused = |code, message: &str| Err(Error::new(Kind::Unauthorized, code, message));
    let mine = |token: &&OneTime| {
        token.id == id
            && token.purpose == purpose
            && token.tenant == save.user.tenant
            && token.user == save.user.id
    };
    match seen.token.as_ref().filter(mine) {
        None => refused("token_unknown", "there is no such token"),
        Some(token) if token.used_at.is_some() => refused("token_spent", "this token was used before"),
        Some(token) if !token.good(save.at) => refused("token_expired", "this token is too old"),
        Some(_) => Ok(()),
    }
}

/// Which of somebody's logins end with a change: those asked for, and all of whoever may not log in.
pub(crate) fn ended(save: &SaveUser, user: &User) -> Option<Revocation> {
    let barred = |reason| Some(Revocation { except: None, reason });
    match user.state {
        UserState::Suspended => barred("suspended"),
        UserState::Deleted => barred("deleted"),
        UserState::PendingVerification | UserState::Invited | UserState::Active => save.revoke,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed {
    user_id: UserId,
    role: Role,
    state: UserState,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Issued {
    user_id: UserId,
    token_id: OneTimeId,
    purpose: Purpose,
    locale: Locale,
}

/// Tells of a change that was made.
pub(crate) fn tell(batch: &mut Batch, save: &SaveUser, user: &User) -> Result<()> {
    let of = (user.tenant, save.shard);
    let data = Changed { user_id: user.id, role: user.role, state: user.state };
    for kind in &save.events {
        if !kind.of_people() || *kind == EventType::UserTokenIssued {
            return Err(Error::bug("an event that this cannot tell"));
        }
        batch.emit_of_tenant(of, *kind, save.at, &data)?;
    }
    if let Some(token) = &save.issue {
        issued(batch, of, (user.id, token), save.at)?;
    }
    batch.note(save.audit.as_deref());
    Ok(())
}

/// Tells of a token, so that a mail is sent.
pub(crate) fn issued(
    batch: &mut Batch,
    of: (TenantId, Shard),
    (user_id, token): (UserId, &NewOneTime),
    at: Timestamp,
) -> Result<()> {
    let data = Issued { user_id, token_id: token.id, purpose: token.purpose, locale: token.locale };
    batch.emit_of_tenant(of, EventType::UserTokenIssued, at, &data)
}

/// Where somebody stands after a password was tried, from where they stood.
pub(crate) fn sign_in(failures: u32, locked_until: Option<Timestamp>, tried: &SignIn) -> SignInState {
    if locked_until.is_some_and(|until| tried.at < until) {
        return SignInState { ok: false, failures, locked_until };
    }
    if tried.ok {
        return SignInState { ok: true, failures: 0, locked_until: None };
    }
    let failures = failures.saturating_add(1);
    SignInState { ok: false, failures, locked_until: locked(&tried.policy, failures, tried.at) }
}

fn locked(policy: &LockPolicy, failures: u32, at: Timestamp) -> Option<Timestamp> {
    let over = failures.checked_sub(policy.free)?.checked_sub(1)?;
    let time = policy.base.saturating_mul(2_u32.saturating_pow(over.min(31)));
    Some(at.after(time.min(policy.most)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tried(ok: bool, at: i64) -> SignIn {
        let policy = LockPolicy { free: 3, base: Duration::from_millis(10), most: Duration::from_millis(35) };
        let (tenant, user) = (TenantId::DEFAULT, UserId::new());
        SignIn { tenant, user, ok, policy, audit: None, at: Timestamp(at) }
    }

    #[test]
    fn wrong_passwords_lock_for_longer_each_time_up_to_a_bound() {
        let mut locks = Vec::new();
        for failures in 0..7 {
            locks.push(sign_in(failures, None, &tried(false, 100)).locked_until.map(|until| until.0 - 100));
        }
        assert_eq!(locks, [None, None, None, Some(10), Some(20), Some(35), Some(35)]);
        assert_eq!(sign_in(u32::MAX, None, &tried(false, 100)).failures, u32::MAX);
    }

    #[test]
    fn while_somebody_is_locked_out_the_right_password_is_not_looked_at() {
        let until = Some(Timestamp(100));
        let locked = sign_in(4, until, &tried(true, 99));
        assert_eq!((locked.ok, locked.failures, locked.locked_until), (false, 4, until));
        let open = sign_in(4, until, &tried(true, 100));
        assert_eq!((open.ok, open.failures, open.locked_until), (true, 0, None));
    }
}
