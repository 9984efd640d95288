//! Refresh tokens: which one of a family is right, and what a wrong one means.

use super::Batch;
use crate::domain::error::{Error, Kind, Result};
use crate::domain::identity::{Actor, AuditEntry, Login, Rotation, UserState};
use crate::domain::time::Timestamp;
use crate::domain::write::people::{OpenLogin, Rotate};
use crate::infra::store::batch::people::user_not_found;

/// The longest name of a device that is kept, in characters.
const AGENT_LIMIT: usize = 200;

/// Why a family ends whose token somebody else has too.
pub(crate) const REUSED: &str = "reused";

/// Why a login ends when there are too many.
pub(crate) const CROWDED_OUT: &str = "crowded_out";

/// A family as it is stored, and those it depends on.
pub(crate) struct Family {
    pub(crate) login: Login,
    pub(crate) current: Vec<u8>,
    pub(crate) previous: Option<Vec<u8>>,
    pub(crate) rotated_at: Option<Timestamp>,
    /// Whether the person is active and the tenant not suspended.
    pub(crate) barred: bool,
}

/// What becomes of a presented token. The login in the answer is as it was before.
pub(crate) fn rotation(family: Option<Family>, rotate: &Rotate) -> Rotation {
    let Some(family) = family else { return Rotation::Unknown };
    if family.login.revoked_at.is_some() || family.barred {
        return Rotation::Revoked;
    }
    if family.login.expires_at <= rotate.at {
        return Rotation::Expired;
    }
    if family.current == rotate.presented {
        return Rotation::Rotated(family.login);
    }
    let fresh = family.rotated_at.is_some_and(|rotated| rotate.at.since(rotated) <= rotate.grace);
    if fresh && family.previous.as_deref() == Some(rotate.presented.as_slice()) {
        return Rotation::Superseded;
    }
    Rotation::Reused(family.login)
}

/// A login as it is after its token was renewed.
pub(crate) fn renewed(mut login: Login, rotate: &Rotate) -> Login {
    login.generation += 1;
    login.last_used_at = rotate.at;
    login.expires_at = rotate.expires_at;
    login
}

/// Writes down that a family was ended because somebody has a copy of its tokens.
pub(crate) fn note_reuse(batch: &mut Batch, login: &Login, rotate: &Rotate) {
    let actor = Actor::user(login.user_id);
    let mut entry = AuditEntry::new(login.tenant_id, actor, "login.reused", rotate.at);
    entry = entry.to("login", login.login_id);
    entry.request_id.clone_from(&rotate.request_id);
    entry.client.clone_from(&rotate.client);
    batch.note(Some(&entry));
}

/// Whether somebody may sign in: who they are is known by the state.
pub(crate) fn may_open(batch: &Batch, open: &OpenLogin, state: Option<UserState>) -> Result<()> {
    let forbidden = |code, message: &str| Err(Error::new(Kind::Forbidden, code, message));
    match state {
        None => Err(user_not_found()),
        Some(_) if batch.tenants.get(open.tenant)?.suspended => {
            forbidden("tenant_suspended", "nobody of this tenant gets in")
        }
        Some(UserState::Active) => Ok(()),
        Some(_) => forbidden("user_not_active", "this person may not log in"),
    }
}

/// What a device calls itself, cut to its bound.
pub(crate) fn agent(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(AGENT_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::ids::{LoginId, TenantId, UserId};

    fn family() -> Family {
        let login = Login {
            login_id: LoginId::new(),
            tenant_id: TenantId::DEFAULT,
            user_id: UserId::new(),
            generation: 3,
            user_agent: String::new(),
            created_at: Timestamp(0),
            last_used_at: Timestamp(1_000),
            expires_at: Timestamp(100_000),
            revoked_at: None,
            revoked_reason: None,
        };
        let (current, previous) = (vec![2; 32], Some(vec![1; 32]));
        Family { login, current, previous, rotated_at: Some(Timestamp(1_000)), barred: false }
    }

    fn presented(token: u8, at: i64) -> Rotate {
        Rotate {
            login: LoginId::new(),
            presented: [token; 32],
            fresh: [9; 32],
            grace: Duration::from_secs(10),
            expires_at: Timestamp(200_000),
            request_id: None,
            client: None,
            at: Timestamp(at),
        }
    }

    #[test]
    fn the_token_before_is_a_race_for_a_while_and_then_a_theft() {
        let of = |token, at| rotation(Some(family()), &presented(token, at));
        assert!(matches!(of(2, 50_000), Rotation::Rotated(_)));
        assert_eq!(of(1, 11_000), Rotation::Superseded);
        assert!(matches!(of(1, 11_001), Rotation::Reused(_)));
        assert!(matches!(of(0, 1_500), Rotation::Reused(_)), "an older one is never a race");
        assert_eq!(of(2, 100_000), Rotation::Expired);
        assert_eq!(rotation(None, &presented(2, 0)), Rotation::Unknown);
    }

    #[test]
    fn a_family_that_ended_stays_ended_whatever_is_presented() {
        for token in 0..3 {
            let mut ended = family();
            ended.login.revoked_at = Some(Timestamp(2_000));
            assert_eq!(rotation(Some(ended), &presented(token, 3_000)), Rotation::Revoked);
            let barred = Family { barred: true, ..family() };
            assert_eq!(rotation(Some(barred), &presented(token, 3_000)), Rotation::Revoked);
        }
    }

    #[test]
    fn a_devices_name_is_bounded() {
        assert_eq!(agent(&"é".repeat(500)).chars().count(), AGENT_LIMIT);
        assert_eq!(agent("a\r\nb"), "ab");
    }
}
