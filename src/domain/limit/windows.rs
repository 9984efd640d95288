//! The windows of one node, counted in memory. Time is given from outside and only moves forward.
//!
//! Promises: at most `capacity` subjects of each scope; beyond it those go whose windows end first, an eighth at a time, so
//! that a flood of addresses costs neither memory nor what is counted for tenants and sessions.

use std::collections::HashMap;
use std::time::Duration;

use super::{Charge, Scope, Subject, Used, Verdict, judge};

/// What is counted.
#[derive(Debug)]
pub struct Windows {
    scopes: [HashMap<Subject, Window>; Scope::ALL.len()],
    capacity: usize,
    forgotten: u64,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    count: u32,
    ends: Duration,
}

impl Windows {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { scopes: Default::default(), capacity: capacity.max(1), forgotten: 0 }
    }

    /// Judges one request at this moment, and counts it if it is admitted.
    pub fn check(&mut self, charges: &[Charge], now: Duration) -> Verdict {
        let used: Vec<Used> = charges.iter().map(|charge| self.used(&charge.subject, now)).collect();
        let verdict = judge(charges, &used);
        if matches!(verdict, Verdict::Admitted(_)) {
            for charge in charges.iter().filter(|charge| charge.counts) {
                self.count(charge, now);
            }
        }
        verdict
    }

    /// How many subjects are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scopes.iter().map(HashMap::len).sum()
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Windows that were forgotten before their end, for want of room, since this was asked last.
    pub fn take_forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }

    fn of(&mut self, scope: Scope) -> &mut HashMap<Subject, Window> {
        let [ip, failures, token, tenant, session] = &mut self.scopes;
        match scope {
            Scope::Ip => ip,
            Scope::AuthFailures => failures,
            Scope::Token => token,
            Scope::Tenant => tenant,
            Scope::Session => session,
        }
    }

    fn used(&mut self, subject: &Subject, now: Duration) -> Used {
        let window = self.of(subject.scope()).get(subject).filter(|window| window.ends > now);
        window.map_or_else(Used::default, |window| Used { count: window.count, left: window.ends - now })
    }

    fn count(&mut self, charge: &Charge, now: Duration) {
        let fresh = Window { count: 1, ends: now + charge.rate.window() };
        let capacity = self.capacity;
        let known = self.of(charge.subject.scope());
        match known.get_mut(&charge.subject) {
            Some(window) if window.ends > now => window.count = window.count.saturating_add(1),
            Some(window) => *window = fresh,
            None => {
                let forgotten = if known.len() >= capacity { make_room(known, now) } else { 0 };
                known.insert(charge.subject, fresh);
                self.forgotten += forgotten;
            }
        }
    }
}

/// Removes what has ended; where that is not an eighth, also what ends first. Returns how many of these there were.
fn make_room(known: &mut HashMap<Subject, Window>, now: Duration) -> u64 {
    let wanted = (known.len() / 8).max(1);
    let before = known.len();
    known.retain(|_, window| window.ends > now);
    let missing = wanted.saturating_sub(before - known.len());
    if missing == 0 {
        return 0;
    }
    let mut ends: Vec<(Duration, Subject)> =
        known.iter().map(|(subject, window)| (window.ends, *subject)).collect();
    ends.select_nth_unstable_by_key(missing - 1, |(end, _)| *end);
    for (_, subject) in ends.iter().take(missing) {
        known.remove(subject);
    }
    u64::try_from(missing).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::domain::limit::{Rate, Standing};

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    fn charge(subject: Subject, rate: Rate) -> Charge {
        Charge { subject, rate, counts: true }
    }

    #[test]
    fn a_window_begins_with_its_first_request_and_admits_its_limit() {
        let mut windows = Windows::new(10);
        let one = [charge(Subject::Ip(1), rate("3/10s"))];
        let at = |secs| Duration::from_secs(secs);
        let told = |remaining, secs| Standing { scope: Scope::Ip, limit: 3, remaining, reset: at(secs) };
        assert_eq!(windows.check(&one, at(5)), Verdict::Admitted(Some(told(2, 10))));
        assert_eq!(windows.check(&one, at(8)), Verdict::Admitted(Some(told(1, 7))));
        assert_eq!(windows.check(&one, at(14)), Verdict::Admitted(Some(told(0, 1))));
        assert_eq!(windows.check(&one, at(14)), Verdict::Refused(told(0, 1)));
        assert_eq!(
            windows.check(&[charge(Subject::Ip(2), rate("3/10s"))], at(14)),
            Verdict::Admitted(Some(told(2, 10)))
        );
        assert_eq!(windows.check(&one, at(15)), Verdict::Admitted(Some(told(2, 10))), "the next window");
    }

    #[test]
    fn a_flood_of_addresses_is_bounded_and_leaves_other_scopes_alone() {
        let mut windows = Windows::new(1000);
        let tenant = [charge(Subject::Tenant(crate::domain::ids::TenantId(Uuid::nil())), rate("1/day"))];
        assert!(matches!(windows.check(&tenant, Duration::ZERO), Verdict::Admitted(_)));
        let mut now = Duration::ZERO;
        for address in 0..50_000 {
            now += Duration::from_millis(1);
            windows.check(&[charge(Subject::Ip(address), rate("2/h"))], now);
        }
        assert!(windows.len() <= 1001, "{}", windows.len());
        let forgotten = windows.take_forgotten();
        assert!((49_000..50_000).contains(&forgotten), "{forgotten}");
        assert_eq!(windows.take_forgotten(), 0);
        assert!(matches!(windows.check(&tenant, now), Verdict::Refused(_)));
        let last = [charge(Subject::Ip(49_999), rate("2/h"))];
        let Verdict::Admitted(Some(standing)) = windows.check(&last, now) else { panic!("refused") };
        assert_eq!(standing.remaining, 0, "the youngest window is remembered");
        // What has ended makes room before anything that has not.
        windows.check(&[charge(Subject::Ip(1), rate("1/s"))], now + Duration::from_secs(7200));
        for address in 0..1000 {
            windows.check(
                &[charge(Subject::Ip(1_000_000 + address), rate("1/s"))],
                now + Duration::from_secs(7200),
            );
        }
        assert!(windows.take_forgotten() <= 125);
    }

    /// One step of a history: time passes, somebody asks.
    fn step() -> impl Strategy<Value = (u64, u128, u128, bool)> {
        (0_u64..4000, 0_u128..3, 0_u128..2, proptest::bool::weighted(0.9))
    }

    proptest! {
        #[test]
        fn totals_are_exact_and_what_is_told_is_true(steps in proptest::collection::vec(step(), 1..200)) {
            let (ip, token) = (rate("4/5s"), rate("6/8s"));
            let mut windows = Windows::new(100);
            let mut now = Duration::ZERO;
            // The plain way: every admitted request, when it came, and when its window began.
            let mut begun: HashMap<Subject, (Duration, u32)> = HashMap::new();
            for (wait, address, key, counts) in steps {
                now += Duration::from_millis(wait);
                let charges = [
                    Charge { subject: Subject::Ip(address), rate: ip, counts },
                    Charge { subject: Subject::Token(Uuid::from_u128(key)), rate: token, counts: true },
                ];
                for charge in &charges {
                    let over = |(start, _): &(Duration, u32)| *start + charge.rate.window() <= now;
                    if begun.get(&charge.subject).is_some_and(over) {
                        begun.remove(&charge.subject);
                    }
                }
                let count = |subject: &Subject| begun.get(subject).map_or(0, |(_, count)| *count);
                let open = charges.iter().all(|charge| count(&charge.subject) < charge.rate.count());
                let mut later = Windows::new(100);
                later.scopes = windows.scopes.clone();
                match windows.check(&charges, now) {
                    Verdict::Refused(standing) => {
                        prop_assert!(!open, "refused without need");
                        prop_assert!(standing.reset > Duration::ZERO);
                        let waited = now + Duration::from_secs(standing.reset_seconds());
                        prop_assert!(matches!(later.check(&charges, waited), Verdict::Admitted(_)), "waiting was no use");
                        prop_assert!(matches!(windows.check(&charges, now), Verdict::Refused(_)), "a refusal counted");
                    }
                    Verdict::Admitted(standing) => {
                        prop_assert!(open, "one more than the limit");
                        for charge in charges.iter().filter(|charge| charge.counts) {
                            begun.entry(charge.subject).or_insert((now, 0)).1 += 1;
                        }
                        let standing = standing.unwrap();
                        let tightest = charges.iter().filter(|charge| charge.counts)
                            .map(|charge| charge.rate.count() - begun[&charge.subject].1).min();
                        prop_assert_eq!(Some(standing.remaining), tightest);
                    }
                }
            }
        }
    }
}
