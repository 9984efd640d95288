//! Callers seen lately: what asks nobody on the hot path.
//!
//! Promises: what is remembered is believed for [`REMEMBERED`] at most, and never beyond the credential's own end; what
//! this node itself revokes is forgotten at once, also by a look-up that is under way meanwhile; the memory is bounded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::auth::{Identity, Who};
use crate::domain::ids::{KeyId, LoginId, UserId};
use crate::domain::now;

/// How long a credential is believed without asking the store again.
pub(super) const REMEMBERED: Duration = Duration::from_secs(30);

/// The most remembered.
const LIMIT: usize = 8192;

/// SHA-256 of a credential.
pub(super) type Hash = [u8; 32];

/// Callers by what they presented.
#[derive(Default)]
pub(super) struct Callers {
    known: RwLock<HashMap<Hash, (Arc<Identity>, Instant)>>,
    /// Counts what was forgotten on purpose.
    forgotten: AtomicU64,
}

/// When a look-up began.
#[derive(Clone, Copy)]
pub(super) struct Begun(u64);

/// Whose credentials are to be forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose {
    /// A key.
    Key(KeyId),
    /// All logins of somebody.
    User(UserId),
    /// One login.
    Login(LoginId),
}

impl Callers {
    /// The caller that presented this lately.
    pub(super) fn known(&self, hash: &Hash) -> Option<Arc<Identity>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (identity, until) = known.get(hash)?;
        (*until > Instant::now() && identity.expires_at.is_none_or(|end| now() < end))
            .then(|| identity.clone())
    }

    /// A look-up begins.
    pub(super) fn begin(&self) -> Begun {
        Begun(self.forgotten.load(Ordering::Acquire))
    }

    /// What a look-up found, unless something was forgotten since it began.
    pub(super) fn remember(&self, begun: Begun, hash: Hash, identity: &Arc<Identity>) {
        let moment = Instant::now();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if self.forgotten.load(Ordering::Acquire) != begun.0 {
            return;
        }
        if known.len() >= LIMIT {
            known.retain(|_, (_, until)| *until > moment);
        }
        if known.len() < LIMIT {
            known.insert(hash, (identity.clone(), moment + REMEMBERED));
        }
    }

    /// Believes nothing of these any more without asking.
    pub(super) fn forget(&self, whose: Whose) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        known.retain(|_, (identity, _)| match (whose, identity.who) {
            (Whose::Key(key), Who::Key(one)) => key != one,
            (Whose::User(user), Who::User { id, .. }) => user != id,
            (Whose::Login(login), Who::User { login: one, .. }) => login != one,
            (Whose::Key(_), Who::User { .. }) | (Whose::User(_) | Whose::Login(_), Who::Key(_)) => true,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identity::{Role, Scopes};
    use crate::domain::ids::TenantId;
    use crate::domain::time::Timestamp;

    fn identity(who: Who) -> Arc<Identity> {
        let (tenant, scopes) = (TenantId::DEFAULT, Scopes::ALL);
        Arc::new(Identity { tenant, who, scopes, sessions: None, expires_at: None })
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_is_believed_for_a_while_and_the_memory_is_bounded() {
        let (callers, key) = (Callers::default(), identity(Who::Key(KeyId::new())));
        callers.remember(callers.begin(), [1; 32], &key);
        assert!(callers.known(&[1; 32]).is_some() && callers.known(&[2; 32]).is_none());
        tokio::time::advance(REMEMBERED).await;
        assert!(callers.known(&[1; 32]).is_none());
        for i in 0..2 * LIMIT {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&i.to_be_bytes());
            callers.remember(callers.begin(), hash, &key);
        }
        assert_eq!(callers.known.read().unwrap().len(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_believed_beyond_its_own_end() {
        let callers = Callers::default();
        let ended =
            Identity { expires_at: Some(Timestamp(1)), ..(*identity(Who::Key(KeyId::new()))).clone() };
        callers.remember(callers.begin(), [1; 32], &Arc::new(ended));
        assert!(callers.known(&[1; 32]).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_revoked_here_is_forgotten_at_once_and_nothing_else() {
        let (callers, user, login, key) = (Callers::default(), UserId::new(), LoginId::new(), KeyId::new());
        let person = |id, login| identity(Who::User { id, login, role: Role::Member });
        let all = [person(user, login), person(user, LoginId::new()), person(UserId::new(), LoginId::new())];
        let fill = || {
            for (nth, one) in all.iter().chain([&identity(Who::Key(key))]).enumerate() {
                callers.remember(callers.begin(), [u8::try_from(nth).unwrap(); 32], one);
            }
        };
        let known = || (0..4).filter(|nth| callers.known(&[*nth; 32]).is_some()).collect::<Vec<_>>();
        fill();
        callers.forget(Whose::Login(login));
        assert_eq!(known(), [1, 2, 3]);
        fill();
        callers.forget(Whose::User(user));
        assert_eq!(known(), [2, 3]);
        fill();
        callers.forget(Whose::Key(key));
        assert_eq!(known(), [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_that_was_under_way_is_not_remembered() {
        let (callers, key) = (Callers::default(), KeyId::new());
        let begun = callers.begin();
        callers.forget(Whose::Key(key));
        callers.remember(begun, [1; 32], &identity(Who::Key(key)));
        assert!(callers.known(&[1; 32]).is_none());
    }
}
