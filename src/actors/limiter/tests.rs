use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;

use super::*;
use crate::domain::limit::{Standing, Subject};

const RATES: Rates = Rates { ip: None, auth_failures: None, token: None, tenant: None, session: None };

fn charges(subject: u128) -> Vec<Charge> {
    vec![Charge { subject: Subject::Ip(subject), rate: "3/min".parse().unwrap(), counts: true }]
}

/// Counters that answer, refuse or hang, as told, and count how often they were asked.
#[derive(Default)]
struct Faulty {
    inner: MemoryLimits,
    broken: AtomicBool,
    hangs: AtomicBool,
    asked: AtomicU32,
}

#[async_trait]
impl Limits for Faulty {
    async fn check(&self, charges: &[Charge]) -> crate::domain::Result<Verdict> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        match self.broken.load(Ordering::Relaxed) {
            true => Err(Error::unavailable("stream_late", "redis did not answer in time")),
            false => self.inner.check(charges).await,
        }
    }
}

async fn start(shared: Option<Arc<Shared>>) -> (Admission, ActorRef<Letter<Check>>) {
    let admission = Admission::new(RATES, 64);
    let own = Arc::new(MemoryLimits::default());
    let args = Arguments { admission: admission.clone(), own, shared };
    let (actor, _) = Actor::spawn(None, Limiter, args).await.unwrap();
    admission.mailbox.bind(actor.clone());
    (admission, actor)
}

async fn admitted(admission: &Admission, subject: u128, tries: usize) -> usize {
    let mut count = 0;
    for _ in 0..tries {
        count += usize::from(matches!(admission.ask(charges(subject)).await, Verdict::Admitted(Some(_))));
    }
    count
}

#[tokio::test(start_paused = true)]
async fn a_node_alone_counts_exactly_also_when_all_ask_at_once() {
    let (admission, _actor) = start(None).await;
    let all = futures_util::future::join_all((0..50).map(|_| admission.ask(charges(1)))).await;
    let passed = all.iter().filter(|verdict| matches!(verdict, Verdict::Admitted(_))).count();
    assert_eq!(passed, 3);
    let Verdict::Refused(Standing { reset, .. }) = admission.ask(charges(1)).await else {
        panic!("admitted")
    };
    tokio::time::advance(reset).await;
    assert_eq!(admitted(&admission, 1, 5).await, 3);
}

#[tokio::test(start_paused = true)]
async fn while_the_shared_counters_are_away_the_node_counts_and_asks_them_once_in_a_while() {
    let faulty = Arc::new(Faulty::default());
    let (admission, _actor) = start(Some(Shared::new(faulty.clone()))).await;
    assert_eq!(admitted(&admission, 1, 2).await, 2);
    faulty.broken.store(true, Ordering::Relaxed);
    assert_eq!(admitted(&admission, 1, 10).await, 3, "its own count begins, and is a limit too");
    assert_eq!(faulty.asked.load(Ordering::Relaxed), 3, "one try in a second");
    tokio::time::advance(AGAIN).await;
    assert_eq!(admitted(&admission, 2, 10).await, 3);
    assert_eq!(faulty.asked.load(Ordering::Relaxed), 4);
    faulty.broken.store(false, Ordering::Relaxed);
    tokio::time::advance(AGAIN).await;
    assert_eq!(admitted(&admission, 1, 10).await, 1, "what all nodes have counted holds again");
    assert_eq!(faulty.asked.load(Ordering::Relaxed), 14);
}

#[tokio::test(start_paused = true)]
async fn a_limiter_that_does_not_answer_fails_no_request() {
    let faulty = Arc::new(Faulty::default());
    faulty.hangs.store(true, Ordering::Relaxed);
    let (admission, actor) = start(Some(Shared::new(faulty))).await;
    assert_eq!(admission.ask(charges(1)).await, Verdict::Admitted(None), "late");
    actor.kill();
    actor.wait(None).await.unwrap();
    assert_eq!(admission.ask(charges(1)).await, Verdict::Admitted(None), "gone");
    assert!(admission.mailbox.is_empty(), "nothing keeps its place");
}

#[tokio::test]
async fn a_request_without_limits_asks_nobody() {
    let admission = Admission::new(RATES, 0);
    assert_eq!(admission.ask(Vec::new()).await, Verdict::Admitted(None));
    assert_eq!(Scope::ALL.map(|scope| admission.rate(scope)), [None; 5]);
}
