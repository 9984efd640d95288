//! One-time tokens: what a link in a mail proves.

use super::mail::MailAddress;
use super::words;
use crate::domain::ids::{OneTimeId, TenantId, UserId};
use crate::domain::time::Timestamp;

words! {
    /// What a token is for.
    Purpose, "purpose", "invalid_purpose";
    /// To prove the mail address given at registration.
    Verify = "verify",
    /// To set a new password.
    Reset = "reset",
    /// To prove the address that the account is to move to.
    ChangeMail = "change_mail",
    /// To accept an invitation.
    Invite = "invite",
}

/// A token, without its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneTime {
    /// Which.
    pub id: OneTimeId,
    /// Whose.
    pub tenant: TenantId,
    /// Whose.
    pub user: UserId,
    /// What for.
    pub purpose: Purpose,
    /// The address it proves, for [`Purpose::ChangeMail`].
    pub mail: Option<MailAddress>,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// When it was used.
    pub used_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl OneTime {
    /// Whether it is still good.
    #[must_use]
    pub fn good(&self, at: Timestamp) -> bool {
        self.used_at.is_none() && at < self.expires_at
    }
}
