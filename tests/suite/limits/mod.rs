//! The contract of the `Limits` port. Every adapter runs the same promises: `limits_suite!(open)`, where `open().await`
//! gives fresh counters that nobody else counts with.

use std::sync::Arc;
use std::time::Duration;

use recado::domain::ids::{SessionId, TenantId};
use recado::domain::limit::{Charge, Scope, Standing, Subject, Verdict};
use recado::infra::limits::Limits;
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

pub type Counters = Arc<dyn Limits>;

pub fn charge(subject: Subject, rate: &str) -> Charge {
    Charge { subject, rate: rate.parse().unwrap(), counts: true }
}

pub fn ip(address: u128, rate: &str) -> Charge {
    charge(Subject::Ip(address), rate)
}

fn asking(charge: Charge) -> Charge {
    Charge { counts: false, ..charge }
}

async fn admitted(limits: &dyn Limits, charges: &[Charge]) -> Standing {
    match limits.check(charges).await.unwrap() {
        Verdict::Admitted(Some(standing)) => standing,
        other => panic!("{other:?}"),
    }
}

async fn refused(limits: &dyn Limits, charges: &[Charge]) -> Standing {
    match limits.check(charges).await.unwrap() {
        Verdict::Refused(standing) => standing,
        other => panic!("{other:?}"),
    }
}

pub async fn a_window_admits_its_limit_and_tells_the_truth(limits: Counters) {
    let one = [ip(1, "3/min")];
    for remaining in [2, 1, 0] {
        let told = admitted(&*limits, &one).await;
        assert_eq!((told.scope, told.limit, told.remaining), (Scope::Ip, 3, remaining));
        assert!((50..=60).contains(&told.reset_seconds()), "{told:?}");
    }
    for _ in 0..3 {
        let told = refused(&*limits, &one).await;
        assert_eq!((told.scope, told.limit, told.remaining), (Scope::Ip, 3, 0));
        assert!((50..=60).contains(&told.reset_seconds()), "{told:?}");
    }
    assert_eq!(admitted(&*limits, &[ip(2, "3/min")]).await.remaining, 2, "others are not concerned");
}

pub async fn whoever_waits_as_long_as_told_is_admitted(limits: Counters) {
    let one = [ip(1, "2/3s")];
    for _round in 0..2 {
        admitted(&*limits, &one).await;
        admitted(&*limits, &one).await;
        let told = refused(&*limits, &one).await;
        assert!(told.reset <= Duration::from_secs(3), "{told:?}");
        sleep(told.reset + Duration::from_millis(2)).await;
    }
    assert_eq!(admitted(&*limits, &one).await.remaining, 1);
}

pub async fn of_many_at_once_the_limit_passes_and_no_more(limits: Counters) {
    let mut asking = JoinSet::new();
    for n in 0..400_u128 {
        let limits = limits.clone();
        // Forty subjects of one scope, all under one of another.
        let charges = [ip(n % 40, "4/min"), charge(Subject::Token(Uuid::nil()), "100/min")];
        asking.spawn(async move { (n % 40, limits.check(&charges).await.unwrap()) });
    }
    let mut passed = [0; 40];
    while let Some(answer) = asking.join_next().await {
        let (subject, verdict) = answer.unwrap();
        passed[usize::try_from(subject).unwrap()] += u32::from(matches!(verdict, Verdict::Admitted(_)));
    }
    assert_eq!(passed.iter().sum::<u32>(), 100, "{passed:?}");
    assert!(passed.iter().all(|passed| *passed <= 4), "{passed:?}");
}

pub async fn a_refused_request_counts_nowhere(limits: Counters) {
    let tenant = TenantId(Uuid::now_v7());
    let session = SessionId::new();
    let wide = [
        ip(1, "10/min"),
        charge(Subject::Token(Uuid::nil()), "10/min"),
        charge(Subject::Tenant(tenant), "10/min"),
    ];
    let narrow = charge(Subject::Session(tenant, session), "1/min");
    let all: Vec<Charge> = wide.iter().copied().chain([narrow]).collect();
    assert_eq!(admitted(&*limits, &all).await.scope, Scope::Session);
    for _ in 0..20 {
        assert_eq!(refused(&*limits, &all).await.scope, Scope::Session);
    }
    for one in wide {
        assert_eq!(admitted(&*limits, &[one]).await.remaining, 8, "{one:?}");
    }
    let elsewhere = Subject::Session(TenantId(Uuid::now_v7()), session);
    assert_eq!(admitted(&*limits, &[charge(elsewhere, "1/min")]).await.remaining, 0, "by tenant");
}

pub async fn asking_alone_counts_nothing_and_is_refused_when_the_limit_is_reached(limits: Counters) {
    let failures = charge(Subject::AuthFailures(1), "2/min");
    for _ in 0..5 {
        assert_eq!(limits.check(&[asking(failures)]).await.unwrap(), Verdict::Admitted(None));
    }
    assert_eq!(admitted(&*limits, &[failures]).await.remaining, 1);
    assert_eq!(admitted(&*limits, &[failures]).await.remaining, 0);
    let both = [ip(1, "5/min"), asking(failures)];
    assert_eq!(refused(&*limits, &both).await.scope, Scope::AuthFailures);
    assert_eq!(admitted(&*limits, &[ip(1, "5/min")]).await.remaining, 4, "the address was not counted");
}

pub async fn the_limit_that_lasts_longest_is_named(limits: Counters) {
    let (short, long) = (ip(1, "1/10s"), charge(Subject::Token(Uuid::nil()), "1/h"));
    admitted(&*limits, &[short, long]).await;
    let told = refused(&*limits, &[long, short]).await;
    assert_eq!(told.scope, Scope::Token);
    assert!((3590..=3600).contains(&told.reset_seconds()), "{told:?}");
    let tightest = admitted(&*limits, &[ip(2, "5/h"), charge(Subject::Token(Uuid::max()), "3/s")]).await;
    assert_eq!((tightest.scope, tightest.remaining), (Scope::Token, 2));
}

pub async fn nothing_to_judge_is_admitted(limits: Counters) {
    assert_eq!(limits.check(&[]).await.unwrap(), Verdict::Admitted(None));
}

/// Instantiates the contract.
#[macro_export]
macro_rules! limits_suite {
    ($open:expr) => {
        $crate::limits_suite!(@tests $open,
            a_window_admits_its_limit_and_tells_the_truth,
            whoever_waits_as_long_as_told_is_admitted,
            of_many_at_once_the_limit_passes_and_no_more,
            a_refused_request_counts_nowhere,
            asking_alone_counts_nothing_and_is_refused_when_the_limit_is_reached,
            the_limit_that_lasts_longest_is_named,
            nothing_to_judge_is_admitted,
        );
    };
    (@tests $open:expr, $($name:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            limits::$name($open().await).await;
        }
    )*};
}
