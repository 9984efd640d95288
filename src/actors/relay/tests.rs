use std::time::Duration;

use ractor::Actor;
use tokio::time::{Instant, timeout};

use super::*;
use crate::actors::testing::{DOMAIN, Rng, SHARD, World, event, eventually};
use crate::domain::event::Entry;
use crate::domain::ids::SessionId;
use crate::infra::stream::memory::{Limits, MemoryStream};

const SOON: Duration = Duration::from_secs(60);

async fn caught_up(world: &World) {
    let done = || world.store.numbered(Log::DomainEvents).len();
    let deadline = Instant::now() + SOON;
    loop {
        let tail = world.stream.inner().tail(DOMAIN).await.unwrap();
        let left = world.store.head(SHARD, Log::DomainEvents).await.map_or(1, |head| head.unstamped);
        if left == 0 && tail == Position::default().plus(done()) {
            return;
        }
        assert!(Instant::now() < deadline, "the relay does not catch up: tail {tail} of {}", done());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn arguments(world: &World, settings: Settings) -> Arguments {
    Arguments {
        fence: world.fence(),
        relays: world.relays.clone(),
        ledgers: world.ledgers.clone(),
        store: Arc::clone(&world.store) as Arc<dyn Store>,
        stream: Arc::clone(&world.stream) as Arc<dyn Stream>,
        settings,
    }
}

async fn status(relay: &ActorRef<Msg>) -> Status {
    let (sender, answer) = ractor::concurrency::oneshot();
    relay.cast(Msg::Status(sender.into())).unwrap();
    answer.await.unwrap().into_iter().find(|status| status.log == Log::DomainEvents).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_lost_wake_up_costs_at_most_one_poll() {
    let world = World::new().await;
    let _relay = world.relay().await;
    caught_up(&world).await;
    world.commit(&[SessionId::new()], 100);
    let committed = Instant::now();
    caught_up(&world).await;
    assert!(committed.elapsed() <= Settings::default().poll + Duration::from_millis(20));
    world.assert_published().await;
}

#[tokio::test(start_paused = true)]
async fn a_wake_up_is_answered_at_once_and_a_thousand_are_one() {
    let world = World::new().await;
    let (relay, _) = world.relay().await;
    caught_up(&world).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.commit(&[SessionId::new()], 1000);
    (0..1000).for_each(|_| world.relays.wake(SHARD));
    let woken = Instant::now();
    caught_up(&world).await;
    assert!(woken.elapsed() < Duration::from_millis(10), "{:?}", woken.elapsed());
    world.assert_published().await;
    // After its death nobody is woken, and its successor looks for itself.
    relay.stop(None);
    relay.wait(Some(SOON)).await.unwrap();
    world.commit(&[SessionId::new()], 1);
    world.relays.wake(SHARD);
    let _next = world.relay().await;
    caught_up(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_relay_publishes_nothing_twice() {
    let world = World::new().await;
    let session = SessionId::new();
    for _ in 0..10 {
        world.commit(&[session], 700);
        world.stream.hang_after_append();
        let (relay, end) = world.relay().await;
        timeout(SOON, world.stream.hanging.notified()).await.unwrap();
        relay.kill();
        timeout(SOON, end).await.unwrap().unwrap();
    }
    let _relay = world.relay().await;
    caught_up(&world).await;
    assert_eq!(world.published().await.len(), 7000);
    world.assert_published().await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_relay_stamps_nothing_and_ends() {
    let world = World::new().await;
    let (_stale, end) = world.relay().await;
    caught_up(&world).await;
    world.take_over();
    world.commit(&[SessionId::new()], 50);
    world.relays.wake(SHARD);
    timeout(SOON, end).await.unwrap().unwrap();
    assert_eq!(world.store.numbered(Log::DomainEvents).len(), 0);
    let _owner = world.relay().await;
    caught_up(&world).await;
    assert_eq!(world.published().await.len(), 50);
}

#[tokio::test(start_paused = true)]
async fn whatever_the_stream_loses_comes_back_from_the_table() {
    let world = World::new().await;
    let _relay = world.relay().await;
    let sessions: Vec<SessionId> = (0..5).map(|_| SessionId::new()).collect();
    for round in 0..20 {
        world.commit(&sessions, 100);
        world.relays.wake(SHARD);
        if round % 3 == 0 {
            world.stream.lose_everything();
        }
        tokio::time::sleep(Duration::from_millis(round)).await;
    }
    world.stream.lose_everything();
    caught_up(&world).await;
    assert_eq!(world.published().await.len(), 10_000);
    world.assert_published().await;
}

#[tokio::test(start_paused = true)]
async fn failing_ports_delay_and_lose_nothing() {
    for seed in 0..20 {
        let world = World::seeded(seed).await;
        world.faults.set(30);
        let mut rng = Rng::new(seed);
        let mut relay = world.relay().await;
        let sessions: Vec<SessionId> = (0..3).map(|_| SessionId::new()).collect();
        for _ in 0..50 {
            world.commit(&sessions, usize::try_from(rng.below(40)).unwrap());
            world.relays.wake(SHARD);
            if rng.below(10) == 0 {
                relay.0.kill();
                relay = world.relay().await;
            }
            tokio::time::sleep(Duration::from_millis(rng.below(100))).await;
        }
        world.faults.set(0);
        caught_up(&world).await;
        world.assert_published().await;
    }
}

#[tokio::test(start_paused = true)]
async fn tables_that_lost_commits_are_never_hidden_by_appending_behind_them() {
    let world = World::new().await;
    let session = SessionId::new();
    let (relay, _) = world.relay().await;
    world.commit(&[session], 10);
    caught_up(&world).await;
    // A failover to tables that lack the last six: the stream is ahead, then other events take their positions.
    world.store.roll_back_to(Position(4));
    for (more, restart) in [(0, false), (3, false), (5, true)] {
        world.commit(&[session], more);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(status(&relay).await.ahead, "after {more} more");
        assert_eq!(world.stream.inner().tail(DOMAIN).await.unwrap(), Position(10));
        if restart {
            relay.stop(None);
            relay.wait(Some(SOON)).await.unwrap();
            let (next, _) = world.relay().await;
            tokio::time::sleep(Duration::from_secs(20)).await;
            assert!(status(&next).await.ahead);
            assert_eq!(world.stream.inner().tail(DOMAIN).await.unwrap(), Position(10));
        }
    }
    // A person decides: the stream starts anew.
    world.stream.lose_everything();
    caught_up(&world).await;
    world.assert_published().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_stream_waits_for_its_groups_and_goes_on() {
    let world = World::new().await;
    world.stream.replace(MemoryStream::new(Limits { entries: 100, bytes: usize::MAX }));
    let stream = world.stream.inner();
    stream.create_group(DOMAIN, "slow", Position::default()).await.unwrap();
    let settings = Settings { batch: 50, keep: 0, ..Settings::default() };
    let args = arguments(&world, settings);
    world.commit(&[SessionId::new()], 1000);
    let _relay = Actor::spawn(None, Relay, args).await.unwrap();
    let mut got = 0_usize;
    while got < 1000 {
        let entries = stream.read_group(DOMAIN, "slow", "c", 30, SOON).await.unwrap();
        assert_eq!(entries.first().map(|entry| entry.position), Some(Position::default().plus(got + 1)));
        got += entries.len();
        let positions: Vec<Position> = entries.iter().map(|entry| entry.position).collect();
        stream.ack(DOMAIN, "slow", &positions).await.unwrap();
    }
    assert_eq!(got, 1000);
}

#[tokio::test(start_paused = true)]
async fn the_relay_trims_what_every_group_has_acknowledged() {
    let world = World::new().await;
    let _relay = Actor::spawn(None, Relay, arguments(&world, Settings::default())).await.unwrap();
    world.commit(&[SessionId::new()], 5000);
    caught_up(&world).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let stream = world.stream.inner();
    let keep = i64::try_from(Settings::default().keep).unwrap();
    assert!(stream.read_from(DOMAIN, Position(0), 1, Duration::ZERO).await.unwrap().is_none());
    let kept = stream.read_from(DOMAIN, Position(5000 - keep), 5000, Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(kept.len(), Settings::default().keep);
}

#[tokio::test(start_paused = true)]
async fn a_refill_begins_at_the_slowest_group() {
    let world = World::new().await;
    let (relay, _) = world.relay().await;
    world.commit(&[SessionId::new()], 100);
    caught_up(&world).await;
    relay.stop(None);
    relay.wait(Some(SOON)).await.unwrap();
    for (group, cursor) in [("fast", 90), ("slow", 40)] {
        let handled = crate::domain::write::Handled {
            fence: world.fence(),
            group: group.into(),
            log: Log::DomainEvents,
            cursor: Position(cursor),
            above: vec![],
        };
        world.ledgers.write(Write::Handled(handled)).await.unwrap();
    }
    world.stream.lose_everything();
    let groups = [(Log::DomainEvents, "fast"), (Log::DomainEvents, "slow")];
    prepare(&*world.store, &*world.stream, SHARD, &groups).await.unwrap();
    let _relay = world.relay().await;
    caught_up(&world).await;
    let stream = world.stream.inner();
    assert!(stream.read_from(DOMAIN, Position(39), 1, Duration::ZERO).await.unwrap().is_none());
    for (group, next) in [("fast", 91), ("slow", 41)] {
        let entries = stream.read_group(DOMAIN, group, "c", 1, SOON).await.unwrap();
        assert_eq!(entries[0].position, Position(next));
    }
    assert_eq!(refill_floor(&*world.store, SHARD, Log::DomainEvents, &[]).await.unwrap(), Position(100));
}

#[tokio::test(start_paused = true)]
async fn two_relays_at_once_leave_no_gap_and_no_repeat() {
    let world = World::new().await;
    let session = SessionId::new();
    let _first = world.relay().await;
    for _ in 0..20 {
        world.commit(&[session], 300);
        // The shard changes hands; the old relay goes on until it notices.
        world.take_over();
        let _next = world.relay().await;
        world.relays.wake(SHARD);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    caught_up(&world).await;
    assert_eq!(world.published().await.len(), 6000);
    world.assert_published().await;
    let mut foreign = event(session, 1);
    foreign.position = Position(1);
    let entry = Entry { position: Position(1), event: Arc::new(foreign) };
    let late = world.stream.append(DOMAIN, world.fence().epoch, Position::default(), &[entry]).await.unwrap();
    assert_eq!(late, crate::infra::stream::Appended::Tail(Position(6000)));
    eventually("published", || world.store.numbered(Log::DomainEvents).len() == 6000).await;
}

#[tokio::test(start_paused = true)]
async fn a_relay_whose_stream_has_another_owner_appends_nothing_and_lets_the_table_decide() {
    let world = World::new().await;
    let (stale, end) = world.relay().await;
    world.commit(&[SessionId::new()], 10);
    caught_up(&world).await;
    // Taken over, and the new owner has led the stream; rows are numbered that the old one does not know yet.
    world.take_over();
    let stream = world.stream.inner();
    assert_eq!(stream.lead(DOMAIN, world.fence().epoch).await.unwrap(), Some(Position(10)));
    world.commit(&[SessionId::new()], 5);
    world.relays.wake(SHARD);
    timeout(SOON, end).await.unwrap().unwrap();
    assert!(stale.cast(Msg::Wake).is_err());
    assert_eq!(stream.tail(DOMAIN).await.unwrap(), Position(10));
    // A stream that has seen a later owner than the table: the tables lost commits, and a person must look.
    let (relay, _end) = world.relay().await;
    caught_up(&world).await;
    let later = crate::domain::ids::Epoch(world.fence().epoch.0 + 7);
    stream.lead(DOMAIN, later).await.unwrap();
    world.commit(&[SessionId::new()], 5);
    world.relays.wake(SHARD);
    let deadline = Instant::now() + SOON;
    while !status(&relay).await.ahead {
        assert!(Instant::now() < deadline, "nobody is told");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(stream.tail(DOMAIN).await.unwrap(), Position(15));
    // Mended by hand: the stream is thrown away, and made anew from the table.
    world.stream.lose_everything();
    caught_up(&world).await;
    let deadline = Instant::now() + SOON;
    while status(&relay).await.ahead {
        assert!(Instant::now() < deadline, "the alarm stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.assert_published().await;
}

#[tokio::test(start_paused = true)]
async fn what_has_no_relay_here_is_noted_once_and_what_was_heard_is_not_passed_on() {
    let relays = Relays::new(3);
    (0..100).for_each(|_| relays.wake(crate::domain::ids::Shard(2)));
    relays.publish(SHARD);
    relays.heard(crate::domain::ids::Shard(1));
    assert_eq!(relays.away().await, [SHARD, crate::domain::ids::Shard(2)]);
    assert!(timeout(SOON, relays.away()).await.is_err(), "noted twice");
    let world = World::new().await;
    let (relay, _end) = world.relay().await;
    caught_up(&world).await;
    world.relays.wake(SHARD);
    world.relays.heard(SHARD);
    assert!(timeout(SOON, world.relays.away()).await.is_err(), "it is here");
    relay.stop(None);
    relay.wait(Some(SOON)).await.unwrap();
    world.relays.wake(SHARD);
    assert_eq!(timeout(SOON, world.relays.away()).await.unwrap(), [SHARD]);
}
