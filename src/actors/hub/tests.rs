use std::collections::HashSet;

use ractor::Actor;
use tokio::task::JoinHandle;

use super::*;
use crate::actors::subscription::{Frame, Subscription};
use crate::actors::testing::{DOMAIN, Rng, SHARD, World};
use crate::domain::event::Event;
use crate::domain::ids::SessionId;

const SOON: Duration = Duration::from_secs(60);

struct Shown {
    world: World,
    hub: Hub,
    actor: (ActorRef<Msg>, JoinHandle<()>),
}

async fn start(world: &World, hub: &Hub) -> (ActorRef<Msg>, JoinHandle<()>) {
    let args = Arguments {
        hub: hub.clone(),
        store: Arc::clone(&world.store) as Arc<dyn Store>,
        stream: Arc::clone(&world.stream) as Arc<dyn Stream>,
    };
    Actor::spawn(None, HubActor, args).await.unwrap()
}

async fn shown(limits: Limits) -> Shown {
    let world = World::new().await;
    world.relay().await;
    let hub = Hub::new(SHARD, limits);
    let actor = start(&world, &hub).await;
    Shown { world, hub, actor }
}

impl Shown {
    async fn open(&self, filter: EventFilter, after: Option<Position>) -> Result<Subscription> {
        Subscription::open(&self.hub, &self.world.queries, filter, after).await
    }

    fn commit(&self, sessions: &[SessionId], count: usize) {
        self.world.commit(sessions, count);
        self.world.relays.wake(SHARD);
    }

    async fn position(&self) -> Option<Position> {
        self.hub.status().await.unwrap().position
    }
}

/// The next event, or why there is none.
async fn next(subscription: &mut Subscription) -> std::result::Result<Event, (Position, &'static str)> {
    match tokio::time::timeout(SOON, subscription.next()).await.expect("a frame within a minute") {
        Frame::Event { position, json } => {
            let event: Event = serde_json::from_str(&json).unwrap();
            assert_eq!(event.position, position);
            Ok(event)
        }
        Frame::Closed { resume_after, reason } => Err((resume_after, reason)),
    }
}

fn of(session: SessionId) -> EventFilter {
    EventFilter { session: Some(session), ..EventFilter::default() }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_drops_fifty_times_misses_nothing_and_sees_nothing_twice() {
    // A small ring: some reconnects are served from it, some from the table.
    let shown = shown(Limits { ring: 64, buffer: 64, ..Limits::default() }).await;
    let sessions = [SessionId::new(), SessionId::new()];
    let mut rng = Rng::new(36);
    let mut seen: Vec<Position> = Vec::new();
    let mut after = Position::default();
    for drops in 0..=50 {
        shown.commit(&sessions, usize::try_from(rng.below(100)).unwrap());
        let mut client = shown.open(EventFilter::default(), Some(after)).await.unwrap();
        let wanted = if drops == 50 { u64::MAX } else { rng.below(150) };
        for _ in 0..wanted {
            let frame = tokio::time::timeout(Duration::from_secs(2), client.next()).await;
            match frame {
                Ok(Frame::Event { position, .. }) => seen.push(position),
                Ok(Frame::Closed { reason, .. }) => panic!("closed: {reason}"),
                Err(_nothing_more) => break,
            }
        }
        after = client.position();
    }
    let all = shown.world.store.numbered(Log::DomainEvents).len();
    assert!(all > 3000, "{all}");
    let expected: Vec<Position> = (1..=all).map(|n| Position::default().plus(n)).collect();
    assert_eq!(seen, expected);
    assert_eq!(shown.hub.status().await.unwrap().clients, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_closed_with_its_position_and_delays_nobody() {
    let shown = shown(Limits { buffer: 32, ..Limits::default() }).await;
    let session = SessionId::new();
    let mut stuck = shown.open(EventFilter::default(), None).await.unwrap();
    let mut alarm = stuck.alarm();
    let mut lively = shown.open(EventFilter::default(), None).await.unwrap();
    shown.commit(&[session], 3);
    for seq in 1..=3 {
        assert_eq!(next(&mut stuck).await.unwrap().seq, seq);
    }
    for seq in 1..=500 {
        if seq > 3 {
            shown.commit(&[session], 1);
        }
        let asked = Instant::now();
        assert_eq!(next(&mut lively).await.unwrap().seq, seq);
        assert!(asked.elapsed() < Duration::from_millis(50), "{:?}", asked.elapsed());
    }
    let mut burst = shown.open(EventFilter::default(), None).await.unwrap();
    // Also a reader that is stuck in a write hears of it.
    assert_eq!(tokio::time::timeout(SOON, alarm.raised()).await.unwrap(), "slow");
    let resume = next(&mut stuck).await.unwrap_err();
    assert_eq!(resume, (Position(3), "slow"));
    assert_eq!(next(&mut stuck).await.unwrap_err(), resume, "nothing follows the end");
    // A burst far beyond the buffer closes nobody who reads.
    shown.commit(&[session], 400);
    for seq in 501..=900 {
        assert_eq!(next(&mut burst).await.unwrap().seq, seq);
        assert_eq!(next(&mut lively).await.unwrap().seq, seq);
    }
    let mut again = shown.open(EventFilter::default(), Some(resume.0)).await.unwrap();
    for seq in 4..=500 {
        assert_eq!(next(&mut again).await.unwrap().seq, seq);
    }
}

#[tokio::test(start_paused = true)]
async fn a_filter_shows_what_it_names_and_nothing_else() {
    let shown = shown(Limits::default()).await;
    let sessions: Vec<SessionId> = (0..20).map(|_| SessionId::new()).collect();
    shown.commit(&sessions, 100);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut old = shown.open(of(sessions[3]), Some(Position(0))).await.unwrap();
    let mut new = shown.open(of(sessions[4]), None).await.unwrap();
    let none = EventFilter { kinds: vec!["call.received".into()], ..EventFilter::default() };
    let mut nothing = shown.open(none, Some(Position(0))).await.unwrap();
    shown.commit(&sessions, 10);
    for seq in 1..=110 {
        let event = next(&mut old).await.unwrap();
        assert_eq!((event.session_id, event.seq), (Some(sessions[3]), seq));
    }
    for seq in 101..=110 {
        assert_eq!(next(&mut new).await.unwrap().seq, seq);
    }
    assert!(tokio::time::timeout(SOON, nothing.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_dies_is_not_noticed_and_one_that_stops_says_where_to_resume() {
    let mut shown = shown(Limits { ring: 16, ..Limits::default() }).await;
    let session = SessionId::new();
    let mut client = shown.open(EventFilter::default(), None).await.unwrap();
    let mut seen = 0;
    for _ in 0..10 {
        shown.commit(&[session], 10);
        for _ in 0..5 {
            seen += 1;
            assert_eq!(next(&mut client).await.unwrap().seq, seen);
        }
        shown.actor.0.kill();
        shown.actor.0.wait(Some(SOON)).await.unwrap();
        shown.commit(&[session], 10);
        shown.actor = start(&shown.world, &shown.hub).await;
        for _ in 0..15 {
            seen += 1;
            assert_eq!(next(&mut client).await.unwrap().seq, seen);
        }
    }
    shown.actor.0.stop(None);
    assert_eq!(next(&mut client).await.unwrap_err(), (Position(200), "stopping"));
}

#[tokio::test(start_paused = true)]
async fn a_hub_rests_without_clients_and_one_that_comes_back_misses_nothing() {
    let shown = shown(Limits::default()).await;
    let session = SessionId::new();
    shown.commit(&[session], 5);
    tokio::time::sleep(SOON).await;
    assert_eq!(shown.position().await, None, "nobody has come yet");
    let mut client = shown.open(EventFilter::default(), None).await.unwrap();
    shown.commit(&[session], 5);
    for seq in 6..=10 {
        assert_eq!(next(&mut client).await.unwrap().seq, seq);
    }
    tokio::time::sleep(2 * LINGER).await;
    assert!(shown.position().await.is_some(), "a client that hears nothing is a client");
    let after = client.position();
    drop(client);
    shown.commit(&[session], 5);
    tokio::time::sleep(LINGER / 2).await;
    assert_eq!(shown.position().await, Some(after.plus(5)), "it may come back at once");
    tokio::time::sleep(LINGER).await;
    shown.commit(&[session], 5);
    tokio::time::sleep(SOON).await;
    assert_eq!(shown.hub.status().await.unwrap(), Status { clients: 0, position: None, ring: 0 });
    let mut again = shown.open(EventFilter::default(), Some(after)).await.unwrap();
    for seq in 11..=20 {
        assert_eq!(next(&mut again).await.unwrap().seq, seq);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_gone_for_long_closes_its_clients_with_their_position() {
    let shown = shown(Limits::default()).await;
    let mut client = shown.open(EventFilter::default(), None).await.unwrap();
    shown.commit(&[SessionId::new()], 1);
    next(&mut client).await.unwrap();
    shown.actor.0.kill();
    assert_eq!(next(&mut client).await.unwrap_err(), (Position(1), "unavailable"));
}

#[tokio::test(start_paused = true)]
async fn losing_the_stream_costs_a_client_nothing() {
    let shown = shown(Limits { ring: 8, ..Limits::default() }).await;
    let session = SessionId::new();
    let mut client = shown.open(EventFilter::default(), None).await.unwrap();
    for round in 0..20_i64 {
        shown.commit(&[session], 20);
        if round % 3 == 0 {
            shown.world.stream.lose_everything();
        }
        if round % 3 == 1 {
            shown.world.stream.inner().trim(DOMAIN, Position(i64::MAX)).await.unwrap();
        }
        for seq in 1..=20 {
            assert_eq!(next(&mut client).await.unwrap().seq, round * 20 + seq);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_position_ahead_of_the_log_and_one_client_too_many_are_refused() {
    let shown = shown(Limits { clients: 2, ..Limits::default() }).await;
    let first = shown.open(EventFilter::default(), None).await.unwrap();
    let ahead = shown.open(EventFilter::default(), Some(Position(1))).await.err().unwrap();
    assert_eq!(ahead.code, "position_ahead");
    let second = shown.open(EventFilter::default(), None).await.unwrap();
    let third = shown.open(EventFilter::default(), None).await.err().unwrap();
    assert_eq!(third.code, "too_many_clients");
    drop(first);
    let _third = shown.open(EventFilter::default(), None).await.unwrap();
    drop(second);
    assert!(shown.position().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_json_of_an_event_is_made_once_for_all_clients() {
    let shown = shown(Limits::default()).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(shown.open(EventFilter::default(), None).await.unwrap());
    }
    shown.commit(&[SessionId::new()], 1);
    let mut texts = HashSet::new();
    let mut kept = Vec::new();
    for client in &mut clients {
        let Frame::Event { json, .. } = client.next().await else { panic!("closed") };
        texts.insert(json.as_ptr());
        kept.push(json);
    }
    assert_eq!(texts.len(), 1);
}
