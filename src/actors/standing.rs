//! Where somebody stands right now: what a token that was signed a while ago cannot know.

use super::archive::Queries;
use crate::domain::error::Result;
use crate::domain::identity::{Role, UserState};
use crate::domain::ids::{LoginId, TenantId, UserId};
use crate::domain::time::Timestamp;

/// A person and one of their logins, as of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What they may do.
    pub role: Role,
    /// Where they stand.
    pub state: UserState,
    /// Access tokens made before are void.
    pub tokens_after: Option<Timestamp>,
    /// Until when the login can be renewed.
    pub login_expires_at: Timestamp,
    /// Whether the login was ended.
    pub login_ended: bool,
    /// Whether nobody of the tenant gets in.
    pub tenant_suspended: bool,
}

impl Standing {
    /// Whether person and login are good at this moment.
    #[must_use]
    pub fn good(&self, at: Timestamp) -> bool {
        self.state == UserState::Active && !self.login_ended && at < self.login_expires_at
    }
}

impl Queries {
    /// Where a person and a login of theirs stand; `None` when there is no such person, login or tenant.
    ///
    /// # Errors
    /// As for [`Queries::ask`].
    pub async fn standing(&self, tenant: TenantId, user: UserId, login: LoginId) -> Result<Option<Standing>> {
        self.ask(move |store| async move {
            let (Some(user), Some(login), Some(tenant)) = (
                store.user(tenant, user).await?,
                store.login(tenant, user, login).await?,
                store.tenant(tenant).await?,
            ) else {
                return Ok(None);
            };
            Ok(Some(Standing {
                role: user.role,
                state: user.state,
                tokens_after: user.tokens_after,
                login_expires_at: login.expires_at,
                login_ended: login.revoked_at.is_some(),
                tenant_suspended: tenant.suspended_at.is_some(),
            }))
        })
        .await
    }
}
