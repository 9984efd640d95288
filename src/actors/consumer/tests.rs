use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::actors::handler::{Delivery, Failure};
use crate::actors::testing::{DOMAIN, Script, World, eventually};
use crate::domain::ids::{EventId, SessionId};
use crate::infra::stream::Stream;

const SOON: Duration = Duration::from_secs(60);

/// What handlers did, in order.
#[derive(Default)]
struct Effects(Mutex<Vec<(Instant, SessionId, i64, EventId)>>);

impl Effects {
    fn note(&self, delivery: &Delivery) {
        let mut all = self.0.lock().unwrap();
        for entry in &delivery.entries {
            all.push((Instant::now(), SessionId(delivery.subject.0), entry.event.seq, entry.event.event_id));
        }
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn of(&self, session: SessionId) -> Vec<i64> {
        let all = self.0.lock().unwrap();
        all.iter().filter(|(_, of, _, _)| *of == session).map(|(_, _, seq, _)| *seq).collect()
    }

    fn assert_each_once_in_order(&self, sessions: &[SessionId], count: i64) {
        for session in sessions {
            assert_eq!(self.of(*session), (1..=count).collect::<Vec<_>>());
        }
    }
}

fn retry(error: &str) -> Result<(), Failure> {
    Err(Failure::Retry { error: error.into(), after: None })
}

fn sessions(count: usize) -> Vec<SessionId> {
    (0..count).map(|_| SessionId::new()).collect()
}

async fn stopped(consumer: (ActorRef<Msg>, JoinHandle<()>)) {
    consumer.0.stop(None);
    tokio::time::timeout(SOON, consumer.1).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_entry_is_handled_once_and_in_order_and_sessions_run_in_parallel() {
    let world = World::new().await;
    let sessions = sessions(50);
    let effects = Arc::new(Effects::default());
    let busy: Arc<Mutex<HashSet<SessionId>>> = Arc::default();
    let most = Arc::new(AtomicUsize::new(0));
    let (seen, most_at_once) = (Arc::clone(&effects), Arc::clone(&most));
    let handler = Script(move |delivery: Delivery| {
        let (seen, busy, most) = (Arc::clone(&seen), Arc::clone(&busy), Arc::clone(&most_at_once));
        async move {
            assert!(
                busy.lock().unwrap().insert(SessionId(delivery.subject.0)),
                "two deliveries of one session at once"
            );
            let now = busy.lock().unwrap().len();
            most.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(1)).await;
            seen.note(&delivery);
            busy.lock().unwrap().remove(&SessionId(delivery.subject.0));
            Ok(())
        }
    });
    let _relay = world.relay().await;
    let consumer = world.consumer(Arc::new(handler), Settings { slots: 8, ..Settings::default() }).await;
    world.commit(&sessions, 200);
    world.relays.wake(crate::actors::testing::SHARD);
    eventually("all handled", || effects.count() == 10_000).await;
    effects.assert_each_once_in_order(&sessions, 200);
    assert_eq!(most.load(Ordering::SeqCst), 8);
    eventually("the cursor follows", || world.store.cursor() == Position(10_000)).await;
    stopped(consumer).await;
    // Everything is acknowledged: nothing holds the stream back.
    assert_eq!(world.stream.inner().trim(DOMAIN, Position(10_000)).await.unwrap(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_on_the_schedule_and_buried_when_its_budget_is_spent() {
    let world = World::new().await;
    let tries: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = Arc::clone(&tries);
    let handler = Script(move |delivery: Delivery| {
        let mut tries = seen.lock().unwrap();
        assert_eq!(delivery.attempt as usize, tries.len());
        tries.push(Instant::now());
        async { retry("no luck") }
    });
    let _relay = world.relay().await;
    let _consumer = world.consumer(Arc::new(handler), Settings::default()).await;
    world.commit(&sessions(1), 1);
    eventually("four failures", || world.store.waiting().iter().any(|state| state.attempts == 4)).await;
    eventually("a burial", || !world.store.letters().is_empty()).await;
    let letter = world.store.letters().remove(0);
    assert_eq!((letter.attempts, letter.error.as_str(), letter.state), (5, "no luck", "buried"));
    eventually("the cursor passes it", || world.store.cursor() == Position(1)).await;
    let tries = tries.lock().unwrap();
    assert_eq!(tries.len(), 5);
    for (n, pair) in tries.windows(2).enumerate() {
        let ceiling = Duration::from_secs(1 << n) + Duration::from_millis(5);
        assert!(pair[1] - pair[0] <= ceiling, "wait {n} was {:?}", pair[1] - pair[0]);
    }
    assert!(tries[4] - tries[0] > Duration::from_millis(100), "no jitter draws nothing four times");
}

#[tokio::test(start_paused = true)]
async fn a_poison_event_delays_no_other_session_whether_it_fails_panics_or_hangs() {
    for how in ["fail", "panic", "hang"] {
        let world = World::new().await;
        let sessions = sessions(20);
        let poisoned = sessions[7];
        let effects = Arc::new(Effects::default());
        let seen = Arc::clone(&effects);
        let handler = Script(move |delivery: Delivery| {
            let seen = Arc::clone(&seen);
            async move {
                for (n, entry) in delivery.entries.iter().enumerate() {
                    if SessionId(delivery.subject.0) == poisoned && entry.event.seq == 3 {
                        match how {
                            "fail" => return retry("poison"),
                            "panic" => panic!("poison"),
                            _ => std::future::pending().await,
                        }
                    }
                    let one = Delivery::new(delivery.subject, vec![entry.clone()], 0);
                    seen.note(&one);
                    delivery.done(n + 1);
                }
                Ok(())
            }
        });
        let _relay = world.relay().await;
        let settings = Settings { window: 64, ..Settings::default() };
        let _consumer = world.consumer(Arc::new(handler), settings).await;
        let start = Instant::now();
        // The poisoned session alone has more waiting than the window holds.
        world.commit(&[poisoned], 500);
        let others: Vec<SessionId> =
            sessions.iter().copied().filter(|session| *session != poisoned).collect();
        world.commit(&others, 50);
        eventually("the others are done", || effects.count() >= 19 * 50 + 2).await;
        assert!(start.elapsed() < Duration::from_secs(2), "{how}: others waited {:?}", start.elapsed());
        effects.assert_each_once_in_order(&others, 50);
        assert_eq!(effects.of(poisoned), [1, 2]);
        tokio::time::sleep(Duration::from_secs(200)).await;
        eventually("the poisoned session goes on", || effects.of(poisoned).len() == 499).await;
        let expected: Vec<i64> = (1..=500).filter(|seq| *seq != 3).collect();
        assert_eq!(effects.of(poisoned), expected);
        let letters = world.store.letters();
        assert_eq!((letters.len(), letters[0].event.seq, letters[0].attempts), (1, 3, 5));
        eventually("the cursor", || world.store.cursor() == Position(500 + 19 * 50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_buried_at_once_and_an_innocent_before_it_is_not() {
    let world = World::new().await;
    let session = SessionId::new();
    let effects = Arc::new(Effects::default());
    let seen = Arc::clone(&effects);
    // Fails as a whole run, and does not say how far it came.
    let handler = Script(move |delivery: Delivery| {
        let seen = Arc::clone(&seen);
        async move {
            if delivery.entries.iter().any(|entry| entry.event.seq == 5) {
                return match delivery.entries.len() {
                    1 => Err(Failure::Permanent { error: "gone".into() }),
                    _ => retry("something in there"),
                };
            }
            seen.note(&delivery);
            Ok(())
        }
    });
    world.commit(&[session], 10);
    let _relay = world.relay().await;
    let _consumer = world.consumer(Arc::new(handler), Settings::default()).await;
    eventually("all but one", || effects.count() == 9).await;
    assert_eq!(effects.of(session), [1, 2, 3, 4, 6, 7, 8, 9, 10]);
    let letters = world.store.letters();
    assert_eq!((letters.len(), letters[0].event.seq, letters[0].error.as_str()), (1, 5, "gone"));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_says_when_is_not_asked_before() {
    let world = World::new().await;
    let tries: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = Arc::clone(&tries);
    let handler = Script(move |_delivery: Delivery| {
        let mut tries = seen.lock().unwrap();
        tries.push(Instant::now());
        let first = tries.len() == 1;
        async move {
            let after = Some(Duration::from_secs(77));
            if first { Err(Failure::Retry { error: "429".into(), after }) } else { Ok(()) }
        }
    });
    world.commit(&sessions(1), 1);
    let _relay = world.relay().await;
    let _consumer = world.consumer(Arc::new(handler), Settings::default()).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    eventually("a second try", || tries.lock().unwrap().len() == 2).await;
    let tries = tries.lock().unwrap();
    assert!(tries[1] - tries[0] >= Duration::from_secs(77));
}

#[tokio::test(start_paused = true)]
async fn a_restart_repeats_nothing_that_is_recorded_and_goes_on_counting() {
    let world = World::new().await;
    let sessions = sessions(10);
    let effects = Arc::new(Effects::default());
    let attempts: Arc<Mutex<Vec<u32>>> = Arc::default();
    let stuck = sessions[0];
    let make = || {
        let (seen, attempts) = (Arc::clone(&effects), Arc::clone(&attempts));
        Arc::new(Script(move |delivery: Delivery| {
            let (seen, attempts) = (Arc::clone(&seen), Arc::clone(&attempts));
            async move {
                if SessionId(delivery.subject.0) == stuck {
                    attempts.lock().unwrap().push(delivery.attempt);
                    return retry("not yet");
                }
                seen.note(&delivery);
                Ok(())
            }
        }))
    };
    let _relay = world.relay().await;
    world.commit(&sessions, 20);
    for (life, kill) in [true, false, true, true].into_iter().enumerate() {
        let consumer = world.consumer(make(), Settings::default()).await;
        let recorded = 9 * 20;
        eventually("handled", || effects.count() >= recorded).await;
        let wanted = u32::try_from(life + 1).unwrap();
        eventually("counted", || world.store.waiting().iter().any(|state| state.attempts >= wanted)).await;
        // All that was handled is recorded by now: one write records both.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if kill {
            consumer.0.kill();
        }
        stopped(consumer).await;
    }
    assert_eq!(effects.count(), 9 * 20, "a recorded effect was repeated");
    let consumer = world.consumer(make(), Settings::default()).await;
    eventually("a burial", || world.store.letters().iter().any(|letter| letter.event.seq == 1)).await;
    assert_eq!(attempts.lock().unwrap()[..5], [0, 1, 2, 3, 4]);
    stopped(consumer).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_and_records_what_runs() {
    let world = World::new().await;
    let sessions = sessions(30);
    let effects = Arc::new(Effects::default());
    let started = Arc::new(Mutex::new(0));
    for _ in 0..2 {
        let (seen, begun) = (Arc::clone(&effects), Arc::clone(&started));
        let handler = Script(move |delivery: Delivery| {
            let seen = Arc::clone(&seen);
            *begun.lock().unwrap() += 1;
            async move {
                tokio::time::sleep(Duration::from_secs(3)).await;
                seen.note(&delivery);
                Ok(())
            }
        });
        if effects.count() == 0 {
            world.commit(&sessions, 1);
        }
        let relay = world.relay().await;
        let before = *started.lock().unwrap();
        let settings = Settings { slots: 10, ..Settings::default() };
        let consumer = world.consumer(Arc::new(handler), settings).await;
        eventually("ten run", || *started.lock().unwrap() == before + 10).await;
        stopped(consumer).await;
        assert_eq!(effects.count(), before + 10, "what ran was cut off, or more was begun");
        relay.0.stop(None);
    }
    let each: HashSet<EventId> = effects.0.lock().unwrap().iter().map(|(_, _, _, id)| *id).collect();
    assert_eq!(each.len(), 20, "a handled entry was repeated");
}

#[tokio::test(start_paused = true)]
async fn a_fenced_consumer_ends_and_its_successor_goes_on() {
    let world = World::new().await;
    let effects = Arc::new(Effects::default());
    let seen = Arc::clone(&effects);
    let handler = Arc::new(Script(move |delivery: Delivery| {
        seen.note(&delivery);
        async { Ok(()) }
    }));
    let sessions = sessions(3);
    let relay = world.relay().await;
    let stale = world.consumer(Arc::clone(&handler) as Arc<dyn Handler>, Settings::default()).await;
    world.commit(&sessions, 5);
    eventually("recorded", || world.store.cursor() == Position(15)).await;
    relay.0.kill();
    world.take_over();
    let _relay = world.relay().await;
    world.commit(&sessions, 1);
    tokio::time::timeout(SOON, stale.1).await.unwrap().unwrap();
    assert_eq!(world.store.cursor(), Position(15), "a stale write was accepted");
    let _owner = world.consumer(handler, Settings::default()).await;
    eventually("the owner records", || world.store.cursor() == Position(18)).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_missed_when_the_stream_loses_its_data_and_its_groups() {
    let world = World::new().await;
    let sessions = sessions(4);
    let effects = Arc::new(Effects::default());
    let seen = Arc::clone(&effects);
    let handler = Script(move |delivery: Delivery| {
        let seen = Arc::clone(&seen);
        async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            seen.note(&delivery);
            Ok(())
        }
    });
    let _relay = world.relay().await;
    let _consumer = world.consumer(Arc::new(handler), Settings::default()).await;
    for round in 0..30_u64 {
        world.commit(&sessions, 25);
        world.relays.wake(crate::actors::testing::SHARD);
        tokio::time::sleep(Duration::from_millis(round % 7)).await;
        if round % 4 == 3 {
            world.stream.lose_everything();
        }
        if round % 5 == 4 {
            // Trimmed behind a group that is not there: the table has it.
            world.stream.inner().remove_group(DOMAIN, "group").await.unwrap();
            world.stream.inner().trim(DOMAIN, Position(i64::MAX)).await.unwrap();
        }
    }
    eventually("all handled", || effects.count() >= 3000).await;
    effects.assert_each_once_in_order(&sessions, 750);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_dead_letters_are_redriven_while_live_traffic_runs() {
    let world = World::new().await;
    let sessions = sessions(100);
    let broken = Arc::new(Mutex::new(true));
    let counts: Arc<Mutex<HashMap<EventId, usize>>> = Arc::default();
    let (is_broken, counted) = (Arc::clone(&broken), Arc::clone(&counts));
    let handler = Script(move |delivery: Delivery| {
        let broken = *is_broken.lock().unwrap();
        let counted = Arc::clone(&counted);
        async move {
            if broken {
                return Err(Failure::Permanent { error: "sink is gone".into() });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            for entry in &delivery.entries {
                *counted.lock().unwrap().entry(entry.event.event_id).or_default() += 1;
            }
            Ok(())
        }
    });
    let _relay = world.relay().await;
    let _consumer = world.consumer(Arc::new(handler), Settings::default()).await;
    world.commit(&sessions, 10);
    eventually("a thousand letters", || world.store.letters().len() == 1000).await;
    *broken.lock().unwrap() = false;
    world.store.redrive_all();
    world.consumers.redrive();
    for _ in 0..20 {
        world.commit(&sessions, 1);
        world.relays.wake(crate::actors::testing::SHARD);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let resolved = || world.store.letters().iter().filter(|letter| letter.state == "resolved").count();
    eventually("all redriven", || resolved() == 1000).await;
    eventually("live traffic went on", || world.store.cursor() == Position(3000)).await;
    let counts = counts.lock().unwrap();
    assert_eq!(counts.len(), 3000, "lost");
    assert!(counts.values().all(|count| *count == 1), "repeated");
}

#[tokio::test(start_paused = true)]
async fn a_redriven_letter_that_fails_again_is_buried_again_and_not_twice() {
    let world = World::new().await;
    let handler = Script(move |_delivery: Delivery| async { retry("still broken") });
    let settings = || Settings { retries: Retries { tries: 2, ..Retries::default() }, ..Settings::default() };
    let _relay = world.relay().await;
    let _consumer = world.consumer(Arc::new(handler), settings()).await;
    world.commit(&sessions(1), 1);
    eventually("buried", || world.store.letters().iter().any(|letter| letter.state == "buried")).await;
    world.store.redrive_all();
    world.consumers.redrive();
    eventually("buried again", || world.store.letters().iter().any(|letter| letter.state == "buried")).await;
    let letters = world.store.letters();
    assert_eq!((letters.len(), letters[0].attempts), (1, 2));
}

#[test]
fn claims_wait_for_the_end_of_a_delivery() {
    let sound = Settings::default();
    assert!(sound.check().is_ok());
    let hasty = Settings { claim: Duration::from_secs(5), ..Settings::default() };
    let refusal = hasty.check().unwrap_err();
    assert_eq!(
        (refusal.code, refusal.field.as_deref()),
        ("claim_idle_too_short", Some("EVENTS_CLAIM_IDLE_MS"))
    );
    let adjusted = Settings::default().claimed_after(Duration::from_secs(5));
    assert_eq!((adjusted.claim, adjusted.deadline), (Duration::from_secs(5), Duration::from_millis(4500)));
    assert!(adjusted.check().is_ok());
    assert_eq!(Settings::default().claimed_after(Duration::from_secs(300)).deadline, sound.deadline);
    assert!(Settings::default().claimed_after(Duration::from_millis(100)).check().is_err());
}

/// Wants every other event.
struct Even(Arc<Effects>);

#[async_trait::async_trait]
impl Handler for Even {
    async fn handle(&self, delivery: &Delivery) -> Result<(), Failure> {
        self.0.note(delivery);
        Ok(())
    }

    fn wants(&self, event: &crate::domain::event::Event) -> bool {
        event.seq % 2 == 0
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_does_not_want_counts_as_handled_and_is_not_delivered() {
    let world = World::new().await;
    let sessions = sessions(5);
    let effects = Arc::new(Effects::default());
    let _relay = world.relay().await;
    let consumer = world.consumer(Arc::new(Even(Arc::clone(&effects))), Settings::default()).await;
    world.commit(&sessions, 101);
    world.relays.wake(crate::actors::testing::SHARD);
    eventually("the cursor passes all", || world.store.cursor() == Position(505)).await;
    for session in &sessions {
        assert_eq!(effects.of(*session), (1..=101).filter(|seq| seq % 2 == 0).collect::<Vec<_>>());
    }
    stopped(consumer).await;
    // What was not wanted is acknowledged as well: nothing holds the stream back.
    assert_eq!(world.stream.inner().trim(DOMAIN, Position(505)).await.unwrap(), 505);
}
