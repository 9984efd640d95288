//! How often somebody may ask: limits, what is counted against them, and what follows.
//!
//! The algorithm is a window of fixed length that begins with the first request counted in it. Promises:
//! * Of any number of requests, at once or not, a window admits as many as its limit says and not one more.
//! * A request is counted against all of its limits or, when one of them refuses it, against none.
//! * What is told is true: `remaining` requests would be admitted now, after `reset` there are as many as `limit` again, and
//!   whoever waits as long as a refusal says finds every limit that refused it open.
//!
//! The price: around the turn of a window twice the limit may pass within one window's length, as with any scheme that
//! lets a client use its whole limit at once (docs/adr/0019).

mod rate;
mod windows;

use std::time::Duration;

use uuid::Uuid;

use super::ids::{SessionId, TenantId};

pub use rate::Rate;
pub use windows::Windows;

/// What a limit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Requests of one address.
    Ip,
    /// Failed authentications of one address.
    AuthFailures,
    /// Requests of one API key or user.
    Token,
    /// Requests of one tenant.
    Tenant,
    /// Messages that one session is given to send.
    Session,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ip, Self::AuthFailures, Self::Token, Self::Tenant, Self::Session];

    /// As clients see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::AuthFailures => "auth_failures",
            Self::Token => "token",
            Self::Tenant => "tenant",
            Self::Session => "session",
        }
    }
}

/// Whose requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// An address: IPv4 as IPv6 maps it, IPv6 by its first 64 bits, which is what one customer is given.
    Ip(u128),
    /// The same, for what failed.
    AuthFailures(u128),
    /// An API key or a user, by its id.
    Token(Uuid),
    /// A tenant.
    Tenant(TenantId),
    /// A session of a tenant: what others ask in its name does not count.
    Session(TenantId, SessionId),
}

impl Subject {
    /// Which limit holds.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        match self {
            Self::Ip(_) => Scope::Ip,
            Self::AuthFailures(_) => Scope::AuthFailures,
            Self::Token(_) => Scope::Token,
            Self::Tenant(_) => Scope::Tenant,
            Self::Session(..) => Scope::Session,
        }
    }

    /// What tells it from others of its scope.
    #[must_use]
    pub const fn id(&self) -> [u128; 2] {
        match self {
            Self::Ip(bits) | Self::AuthFailures(bits) => [*bits, 0],
            Self::Token(id) => [id.as_u128(), 0],
            Self::Tenant(tenant) => [tenant.0.as_u128(), 0],
            Self::Session(tenant, session) => [tenant.0.as_u128(), session.0.as_u128()],
        }
    }
}

/// The limits that are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Of [`Scope::Ip`].
    pub ip: Option<Rate>,
    /// Of [`Scope::AuthFailures`].
    pub auth_failures: Option<Rate>,
    /// Of [`Scope::Token`].
    pub token: Option<Rate>,
    /// Of [`Scope::Tenant`].
    pub tenant: Option<Rate>,
    /// Of [`Scope::Session`].
    pub session: Option<Rate>,
}

impl Rates {
    /// The limit of a scope, if there is one.
    #[must_use]
    pub const fn of(&self, scope: Scope) -> Option<Rate> {
        match scope {
            Scope::Ip => self.ip,
            Scope::AuthFailures => self.auth_failures,
            Scope::Token => self.token,
            Scope::Tenant => self.tenant,
            Scope::Session => self.session,
        }
    }
}

/// One limit that a request is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Whose.
    pub subject: Subject,
    /// The limit.
    pub rate: Rate,
    /// Whether it counts, or only asks if another one would be admitted.
    pub counts: bool,
}

/// What has been counted for a subject so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Requests of the window that runs; 0 when none does.
    pub count: u32,
    /// How long it still runs.
    pub left: Duration,
}

/// How a subject stands with a limit, after the request that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which limit.
    pub scope: Scope,
    /// How many in a window.
    pub limit: u32,
    /// How many more now.
    pub remaining: u32,
    /// Until there are as many as the limit again.
    pub reset: Duration,
}

impl Standing {
    /// The one that will refuse first; of equals the one that lasts longer.
    #[must_use]
    pub fn tighter(self, other: Self) -> Self {
        let rank = |standing: &Self| (standing.remaining, std::cmp::Reverse(standing.reset));
        if rank(&other) < rank(&self) { other } else { self }
    }

    /// Seconds until the window ends, in full, so that after them it has ended.
    #[must_use]
    pub fn reset_seconds(&self) -> u64 {
        let whole = self.reset.as_secs();
        if self.reset.subsec_nanos() == 0 { whole } else { whole.saturating_add(1) }
    }
}

/// What a limiter answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on; how it stands with the tightest of the limits it was counted against.
    Admitted(Option<Standing>),
    /// It may not, and nothing was counted; the limit that will stand in its way longest.
    Refused(Standing),
}

/// Judges a request by what was counted before it. `used` holds one entry per charge, in the same order.
#[must_use]
pub fn judge(charges: &[Charge], used: &[Used]) -> Verdict {
    let exhausted = charges.iter().zip(used).filter(|(charge, used)| used.count >= charge.rate.count());
    let refused = exhausted.map(|(charge, used)| Standing {
        scope: charge.subject.scope(),
        limit: charge.rate.count(),
        remaining: 0,
        reset: used.left,
    });
    if let Some(longest) = refused.max_by_key(|standing| standing.reset) {
        return Verdict::Refused(longest);
    }
    let counted = charges.iter().zip(used).filter(|(charge, _)| charge.counts);
    let standing = counted.map(|(charge, used)| Standing {
        scope: charge.subject.scope(),
        limit: charge.rate.count(),
        remaining: charge.rate.count() - used.count - 1,
        reset: if used.count == 0 { charge.rate.window() } else { used.left },
    });
    Verdict::Admitted(standing.reduce(Standing::tighter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(remaining: u32, reset: u64) -> Standing {
        Standing { scope: Scope::Ip, limit: 9, remaining, reset: Duration::from_millis(reset) }
    }

    #[test]
    fn the_tightest_is_what_refuses_first_and_of_equals_what_lasts_longer() {
        let (few, many) = (standing(1, 10), standing(5, 900));
        assert_eq!((few.tighter(many), many.tighter(few)), (few, few));
        let (short, long) = (standing(1, 10), standing(1, 900));
        assert_eq!((short.tighter(long), long.tighter(short)), (long, long));
    }

    #[test]
    fn seconds_are_rounded_up_so_that_waiting_them_is_enough() {
        for (millis, seconds) in [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2), (59_001, 60)] {
            assert_eq!(standing(0, millis).reset_seconds(), seconds, "{millis} ms");
        }
    }

    #[test]
    fn a_refusal_names_the_limit_that_lasts_longest_and_asking_alone_is_not_told() {
        let rate = |text: &str| text.parse::<Rate>().unwrap();
        let charge = |subject, rate, counts| Charge { subject, rate, counts };
        let ip = charge(Subject::Ip(1), rate("2/s"), true);
        let token = charge(Subject::Token(Uuid::nil()), rate("2/min"), true);
        let failures = charge(Subject::AuthFailures(1), rate("1/day"), false);
        let used = |count, secs| Used { count, left: Duration::from_secs(secs) };
        let all = [ip, token, failures];
        let fresh = judge(&all, &[Used::default(); 3]);
        let told = Standing { scope: Scope::Token, limit: 2, remaining: 1, reset: Duration::from_secs(60) };
        assert_eq!(fresh, Verdict::Admitted(Some(told)), "the day of failures is not what was counted");
        let both = judge(&all, &[used(2, 1), used(2, 40), used(0, 0)]);
        let wait = Standing { scope: Scope::Token, limit: 2, remaining: 0, reset: Duration::from_secs(40) };
        assert_eq!(both, Verdict::Refused(wait));
        let blocked = judge(&all, &[used(0, 0), used(2, 40), used(1, 7000)]);
        assert!(matches!(blocked, Verdict::Refused(Standing { scope: Scope::AuthFailures, .. })));
        assert_eq!(judge(&[], &[]), Verdict::Admitted(None));
    }
}
