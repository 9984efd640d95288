//! Changes to tenants, people, logins, keys and what is written down of them.
//!
//! Promises of each: it names its tenant, and finds and changes nothing of another; what it spends (a token, a version, a
//! place as the last owner) is judged in the transaction that changes it; its audit entry is written in the same
//! transaction, and only if it was not refused.

use std::time::Duration;

use serde_json::Value;

use super::Idempotency;
use crate::domain::event::EventType;
use crate::domain::identity::{Actor, AuditEntry, Locale, MailAddress, Purpose, Scopes, SigningKey, User};
use crate::domain::ids::{KeyId, LoginId, OneTimeId, SessionId, Shard, SigningKeyId, TenantId, UserId};
use crate::domain::time::Timestamp;

/// One change.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a write of it is boxed as a whole")]
pub enum PeopleWrite {
    /// Adds or changes a person. → [`Outcome::Accepted`](super::Outcome::Accepted)
    SaveUser(SaveUser),
    /// Issues a one-time token to somebody who stays as they are. → [`Outcome::Done`](super::Outcome::Done)
    Issue(Issue),
    /// Names, suspends or reinstates a tenant. → [`Outcome::Done`](super::Outcome::Done)
    SaveTenant(SaveTenant),
    /// A password was tried. → [`Outcome::SignedIn`](super::Outcome::SignedIn)
    SignIn(SignIn),
    /// Somebody signed in on a device. → [`Outcome::Done`](super::Outcome::Done)
    OpenLogin(OpenLogin),
    /// A refresh token was presented. → [`Outcome::Rotated`](super::Outcome::Rotated)
    Rotate(Rotate),
    /// Logins end. → [`Outcome::Done`](super::Outcome::Done)
    RevokeLogins(RevokeLogins),
    /// A key is no more, from now on. → [`Outcome::Done`](super::Outcome::Done)
    RevokeKey(RevokeKey),
    /// A key takes another's place. → [`Outcome::Done`](super::Outcome::Done)
    RotateKey(RotateKey),
    /// Keys were used. Not told apart by tenant: the service found them by their hashes.
    /// → [`Outcome::Done`](super::Outcome::Done)
    TouchKeys(Vec<(KeyId, Timestamp)>),
    /// A key to sign with. → [`Outcome::Done`](super::Outcome::Done)
    AddSigningKey(AddSigningKey),
    /// When a signing key's last token will have expired. → [`Outcome::Done`](super::Outcome::Done)
    RetireSigningKey(SigningKeyId, Timestamp),
    /// Only the audit entry. → [`Outcome::Done`](super::Outcome::Done)
    Record(Box<AuditEntry>),
}

/// See [`PeopleWrite::SaveUser`].
///
/// Registration, verification, invitation and its acceptance, reset, change of mail, role or name, suspension and
/// deletion are all this. Somebody deleted is forgotten whatever the row says; whoever may not log in any more has no
/// logins left.
#[derive(Clone, Debug)]
pub struct SaveUser {
    /// Them as they shall be; `version`, `failures` and `locked_until` are the tables' own.
    pub user: User,
    /// The version it was made from; `None` adds somebody new. An older one is refused as `changed_meanwhile`.
    pub expected: Option<i64>,
    /// A tenant to make for them, with this name.
    pub tenant: Option<String>,
    /// A token that must be good, and is used up by this.
    pub spend: Option<Spend>,
    /// A token to issue, for a mail. Earlier ones for the same purpose are good no more.
    pub issue: Option<NewOneTime>,
    /// Whether wrong passwords are forgiven.
    pub unlock: bool,
    /// Their logins end, for this reason.
    pub revoke: Option<Revocation>,
    /// What is told of it, each with `{userId, role, state}`. `user.token_issued` is told with the token.
    pub events: Vec<EventType>,
    /// The shard of the tenant.
    pub shard: Shard,
    /// The answer to give.
    pub response: Value,
    /// The client's key.
    pub idempotency: Option<Idempotency>,
    /// What is written down.
    pub audit: Option<Box<AuditEntry>>,
    /// When.
    pub at: Timestamp,
}

/// A token to use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spend {
    /// Which.
    pub id: OneTimeId,
    /// What for.
    pub purpose: Purpose,
}

/// A token to issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOneTime {
    /// Its id; its text is made from it where it is needed, and kept nowhere.
    pub id: OneTimeId,
    /// What for.
    pub purpose: Purpose,
    /// SHA-256 of its text.
    pub hash: [u8; 32],
    /// The address it proves, for a change of mail.
    pub mail: Option<MailAddress>,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// The language of the mail.
    pub locale: Locale,
}

/// Which logins end, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// All but this one.
    pub except: Option<LoginId>,
    /// A stable word: `password_changed`, `logout`…
    pub reason: &'static str,
}

/// See [`PeopleWrite::Issue`].
#[derive(Clone, Debug)]
pub struct Issue {
    /// Whose.
    pub tenant: TenantId,
    /// For whom.
    pub user: UserId,
    /// The token. Earlier ones for the same purpose are good no more.
    pub token: NewOneTime,
    /// If one for the same purpose was issued after this moment, nothing happens: nobody gets a flood of mails.
    pub not_after: Option<Timestamp>,
    /// The shard of the tenant.
    pub shard: Shard,
    /// What is written down.
    pub audit: Option<Box<AuditEntry>>,
    /// When.
    pub at: Timestamp,
}

/// See [`PeopleWrite::SaveTenant`].
#[derive(Clone, Debug)]
pub struct SaveTenant {
    /// Which.
    pub tenant: TenantId,
    /// Its new name.
    pub name: Option<String>,
    /// Whether it is suspended from now on: its keys and logins open nothing.
    pub suspended: Option<bool>,
    /// What is written down.
    pub audit: Option<Box<AuditEntry>>,
    /// When.
    pub at: Timestamp,
}

/// How wrong passwords lock somebody out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockPolicy {
    /// This many wrong ones lock nothing.
    pub free: u32,
    /// The next one locks for this long, each further one for twice as long.
    pub base: Duration,
    /// But never longer than this.
    pub most: Duration,
}

/// See [`PeopleWrite::SignIn`].
#[derive(Clone, Debug)]
pub struct SignIn {
    /// Whose.
    pub tenant: TenantId,
    /// Who.
    pub user: UserId,
    /// Whether it was the right one. While somebody is locked out it does not matter.
    pub ok: bool,
    /// How wrong ones lock them out.
    pub policy: LockPolicy,
    /// What is written down.
    pub audit: Option<Box<AuditEntry>>,
    /// When.
    pub at: Timestamp,
}

/// Where somebody stands after a password was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignInState {
    /// Whether they are in: the password was right and they were not locked out.
    pub ok: bool,
    /// Wrong ones since the last right one.
    pub failures: u32,
    /// Until when no password is looked at.
    pub locked_until: Option<Timestamp>,
}

/// See [`PeopleWrite::OpenLogin`].
#[derive(Clone, Debug)]
pub struct OpenLogin {
    /// Whose.
    pub tenant: TenantId,
    /// Who; must be active, and the tenant not suspended: else `Forbidden`.
    pub user: UserId,
    /// The new family.
    pub login: LoginId,
    /// SHA-256 of its first refresh token.
    pub hash: [u8; 32],
    /// What the device calls itself; cut to a bound.
    pub user_agent: String,
    /// Until when it can be renewed.
    pub expires_at: Timestamp,
    /// The most logins somebody may have; the one unused for longest goes.
    pub most: usize,
    /// What is written down.
    pub audit: Option<Box<AuditEntry>>,
    /// When.
    pub at: Timestamp,
}

/// See [`PeopleWrite::Rotate`]. It names no tenant: who presents a token says whose it is by that.
#[derive(Clone, Debug)]
pub struct Rotate {
    /// The family the token names.
    pub login: LoginId,
    /// SHA-256 of what was presented.
    pub presented: [u8; 32],
    /// SHA-256 of the token that takes its place.
    pub fresh: [u8; 32],
    /// For so long after a rotation the token before it is a client's own race, and not a theft.
    pub grace: Duration,
    /// Until when the family can be renewed from now on.
    pub expires_at: Timestamp,
    /// Who asked, by request and client: a reuse is written down with it.
    pub request_id: Option<String>,
    /// A keyed hash of the address that asked.
    pub client: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// Which logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logins {
    /// This one.
    One(LoginId),
    /// All but this one.
    AllBut(LoginId),
    /// All.
    All,
}

/// See [`PeopleWrite::RevokeLogins`]. One that is not there, or another's, is `NotFound`.
#[derive(Clone, Debug)]
pub struct RevokeLogins {
    /// Whose.
    pub tenant: TenantId,
    /// Whose.
    pub user: UserId,
    /// Which.
    pub logins: Logins,
    /// A stable word.
    pub reason: &'static str,
    /// Whether access tokens issued before are void too.
    pub void_tokens: bool,
    /// What is written down.
    pub audit: Option<Box<AuditEntry>>,
    /// When.
    pub at: Timestamp,
}

/// See [`Write::AddKey`](super::Write::AddKey).
#[derive(Clone, Debug)]
pub struct AddKey {
    /// Whose key.
    pub tenant: TenantId,
    /// Its name in lists.
    pub id: KeyId,
    /// SHA-256 of the secret; the secret itself is shown once and kept nowhere.
    pub hash: [u8; 32],
    /// For people.
    pub name: String,
    /// The first characters of its text, to know it by.
    pub prefix: String,
    /// What it may do.
    pub scopes: Scopes,
    /// With which sessions only.
    pub sessions: Option<Vec<SessionId>>,
    /// Who makes it.
    pub created_by: Option<Actor>,
    /// Until when it is good.
    pub expires_at: Option<Timestamp>,
    /// The most keys a tenant may have that are not revoked.
    pub limit: i64,
    /// What is written down.
    pub audit: Option<Box<AuditEntry>>,
    /// When.
    pub at: Timestamp,
}

/// See [`PeopleWrite::RevokeKey`].
#[derive(Clone, Debug)]
pub struct RevokeKey {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub id: KeyId,
    /// What is written down.
    pub audit: Option<Box<AuditEntry>>,
    /// When.
    pub at: Timestamp,
}

/// See [`PeopleWrite::RotateKey`].
#[derive(Clone, Debug)]
pub struct RotateKey {
    /// The key that is replaced; must be good, and of the same tenant.
    pub old: KeyId,
    /// Until when it stays good, unless it ends before.
    pub overlap_until: Timestamp,
    /// The key that takes its place. Its audit entry is written for both.
    pub new: AddKey,
}

/// See [`PeopleWrite::AddSigningKey`].
#[derive(Clone, Debug)]
pub struct AddSigningKey {
    /// The key.
    pub key: SigningKey,
    /// The newest one that the writer knew; if another has come meanwhile, `Conflict` (`changed_meanwhile`).
    pub newest: Option<SigningKeyId>,
}

impl PeopleWrite {
    /// The tenants it changes anything of, where it names any.
    #[must_use]
    pub fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::SaveUser(save) => Some(save.user.tenant),
            Self::Issue(issue) => Some(issue.tenant),
            Self::SaveTenant(save) => Some(save.tenant),
            Self::SignIn(sign_in) => Some(sign_in.tenant),
            Self::OpenLogin(open) => Some(open.tenant),
            Self::RevokeLogins(revoke) => Some(revoke.tenant),
            Self::RevokeKey(revoke) => Some(revoke.tenant),
            Self::RotateKey(rotate) => Some(rotate.new.tenant),
            Self::Rotate(_)
            | Self::TouchKeys(_)
            | Self::AddSigningKey(_)
            | Self::RetireSigningKey(..)
            | Self::Record(_) => None,
        }
    }

    /// The shard whose log it may add to.
    #[must_use]
    pub fn shard(&self) -> Option<Shard> {
        match self {
            Self::SaveUser(save) => Some(save.shard),
            Self::Issue(issue) => Some(issue.shard),
            Self::SaveTenant(_)
            | Self::SignIn(_)
            | Self::OpenLogin(_)
            | Self::Rotate(_)
            | Self::RevokeLogins(_)
            | Self::RevokeKey(_)
            | Self::RotateKey(_)
            | Self::TouchKeys(_)
            | Self::AddSigningKey(_)
            | Self::RetireSigningKey(..)
            | Self::Record(_) => None,
        }
    }
}
