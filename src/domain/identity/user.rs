//! A person of a tenant, and their states.
//!
//! `pending_verification → active`, `invited → active`, `suspended ⇄ active`, and from anywhere to `deleted`, which is
//! final: who it was is forgotten, the row stays for the audit log.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::locale::Locale;
use super::mail::{MailAddress, PersonName};
use super::role::Role;
use super::words;
use crate::domain::ids::{TenantId, UserId};
use crate::domain::label::Label;
use crate::domain::time::Timestamp;

words! {
    /// Where a person stands.
    UserState, "state", "invalid_user_state";
    /// Registered; their mail address is not proven.
    PendingVerification = "pending_verification",
    /// Invited; has no password yet.
    Invited = "invited",
    /// May log in.
    Active = "active",
    /// May not log in until reinstated.
    Suspended = "suspended",
    /// Gone for good.
    Deleted = "deleted",
}

impl UserState {
    /// Whether a person may go from here to `next`; to stay is allowed while there is somebody.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Deleted, _) => false,
            (_, Self::Deleted | Self::Active) => true,
            (Self::Active, Self::Suspended) => true,
            (from, to) => from == to,
        }
    }

    /// Whether somebody can begin like this.
    #[must_use]
    pub fn may_begin(self) -> bool {
        matches!(self, Self::PendingVerification | Self::Invited | Self::Active)
    }
}

/// A password's Argon2id hash, in PHC form.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a password's hash")
    }
}

/// A person as the service knows them; clients see a [`UserView`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// Whose.
    pub tenant: TenantId,
    /// How to reach them, and what they log in with; none once deleted.
    pub mail: Option<MailAddress>,
    /// What they are called.
    pub name: Option<PersonName>,
    /// What they may do.
    pub role: Role,
    /// Where they stand.
    pub state: UserState,
    /// What their password is checked against.
    pub password: Option<PasswordHash>,
    /// The language they are written to in.
    pub locale: Locale,
    /// An address they want and have yet to prove.
    pub pending_mail: Option<MailAddress>,
    /// Wrong passwords since the last right one. Changed by `SignIn` alone, or reset.
    pub failures: u32,
    /// Until then no password is looked at. Changed by `SignIn` alone, or reset.
    pub locked_until: Option<Timestamp>,
    /// Access tokens issued before this moment are void.
    pub tokens_after: Option<Timestamp>,
    /// Counts the changes; a change names the version it was made from.
    pub version: i64,
    /// When their mail address was proven.
    pub verified_at: Option<Timestamp>,
    /// When they were registered or invited.
    pub created_at: Timestamp,
    /// When they were last changed.
    pub updated_at: Timestamp,
    /// When they were deleted.
    pub deleted_at: Option<Timestamp>,
}

impl User {
    /// Somebody new: no password, not locked, version 0.
    #[must_use]
    pub fn new(
        (tenant, id): (TenantId, UserId),
        mail: MailAddress,
        role: Role,
        state: UserState,
        at: Timestamp,
    ) -> Self {
        Self {
            id,
            tenant,
            mail: Some(mail),
            name: None,
            role,
            state,
            password: None,
            locale: Locale::default(),
            pending_mail: None,
            failures: 0,
            locked_until: None,
            tokens_after: None,
            version: 0,
            verified_at: None,
            created_at: at,
            updated_at: at,
            deleted_at: None,
        }
    }

    /// Whether the tenant counts on them: an owner who may log in.
    #[must_use]
    pub fn is_active_owner(&self) -> bool {
        self.role == Role::Owner && self.state == UserState::Active
    }
}

/// A person as clients see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserView {
    /// Who.
    pub user_id: UserId,
    /// Whose.
    pub tenant_id: TenantId,
    /// How to reach them; absent once deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<MailAddress>,
    /// What they are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<PersonName>,
    /// What they may do.
    pub role: Role,
    /// Where they stand.
    pub state: UserState,
    /// The language they are written to in.
    pub locale: Locale,
    /// An address they want and have yet to prove.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_email: Option<MailAddress>,
    /// Until then they cannot log in: too many wrong passwords.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
    /// Counts the changes.
    #[schema(minimum = 1, example = 3)]
    pub version: i64,
    /// When their mail address was proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// When they were registered or invited.
    pub created_at: Timestamp,
    /// When they were last changed.
    pub updated_at: Timestamp,
    /// When they were deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            user_id: user.id,
            tenant_id: user.tenant,
            email: user.mail,
            name: user.name,
            role: user.role,
            state: user.state,
            locale: user.locale,
            pending_email: user.pending_mail,
            locked_until: user.locked_until,
            version: user.version,
            verified_at: user.verified_at,
            created_at: user.created_at,
            updated_at: user.updated_at,
            deleted_at: user.deleted_at,
        }
    }
}

/// Which people are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserFilter {
    /// Only in this state; without one, all but the deleted.
    pub state: Option<UserState>,
    /// Only of this role.
    pub role: Option<Role>,
}

/// A tenant as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantView {
    /// Which.
    pub tenant_id: TenantId,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Label>)]
    pub name: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when nobody of it gets in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_goes_only_where_the_states_lead() {
        use UserState::{Active, Deleted, Invited, PendingVerification, Suspended};
        let may = |from: UserState| {
            UserState::ALL.iter().copied().filter(|to| from.may_become(*to)).collect::<Vec<_>>()
        };
        assert_eq!(may(PendingVerification), [PendingVerification, Active, Deleted]);
        assert_eq!(may(Invited), [Invited, Active, Deleted]);
        assert_eq!(may(Active), [Active, Suspended, Deleted]);
        assert_eq!(may(Suspended), [Active, Suspended, Deleted]);
        assert_eq!(may(Deleted), []);
    }

    #[test]
    fn a_view_says_nothing_secret_and_debug_nothing_personal() {
        let mail = "ana@example.org".parse().unwrap();
        let ids = (TenantId::DEFAULT, UserId::new());
        let mut user = User::new(ids, mail, Role::Owner, UserState::Active, Timestamp(1));
        user.password = Some(PasswordHash("$argon2id$secret".to_owned()));
        let shown = format!("{user:?} {:?}", UserView::from(user.clone()));
        assert!(!shown.contains("argon2id") && !shown.contains("example.org"), "{shown}");
        let json = serde_json::to_string(&UserView::from(user)).unwrap();
        assert!(!json.contains("argon2id") && json.contains("\"email\":\"ana@example.org\""), "{json}");
    }
}
