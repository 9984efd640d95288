//! A seed decides everything: what is committed, which port calls fail before or after they did their work, who is
//! killed, when the shard changes hands, what the stream loses. At the end the promises are counted.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorRef};
use tokio::task::JoinHandle;

use super::{DOMAIN, Delivery, Failure, Rng, SHARD, Script, World, eventually};
use crate::actors::consumer::{self, Settings};
use crate::actors::hub::{self, Hub, HubActor, Limits};
use crate::actors::relay;
use crate::actors::subscription::{Frame, Subscription};
use crate::domain::event::Log;
use crate::domain::ids::{EventId, Position, SessionId};
use crate::domain::view::EventFilter;
use crate::infra::store::Store;
use crate::infra::stream::Stream;

/// What was seen, and what should never be.
#[derive(Default)]
struct Seen {
    effects: HashMap<SessionId, Vec<(i64, EventId)>>,
    /// Delivered although it was recorded before the consumer started, or handled by it.
    repeated: usize,
    /// Two deliveries of one session at once, by one consumer.
    overlapping: usize,
}

struct Run {
    world: Arc<World>,
    rng: Rng,
    sessions: Vec<SessionId>,
    relay: ActorRef<relay::Msg>,
    consumer: (ActorRef<consumer::Msg>, JoinHandle<()>),
    hub: Hub,
    hub_actor: ActorRef<hub::Msg>,
    seen: Arc<Mutex<Seen>>,
    seed: u64,
}

impl Run {
    async fn new(seed: u64) -> Self {
        let world = Arc::new(World::seeded(seed).await);
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let hub = Hub::new(SHARD, Limits { ring: 32, buffer: 64, ..Limits::default() });
        let sessions = (0..5).map(|_| SessionId::new()).collect();
        let (relay, _) = world.relay().await;
        let consumer = consumer(&world, &seen, seed).await;
        let hub_actor = start_hub(&world, &hub).await;
        let rng = Rng::new(seed ^ 0xA5A5);
        Self { world, rng, sessions, relay, consumer, hub, hub_actor, seen, seed }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    async fn step(&mut self) {
        match self.rng.below(20) {
            0 => {
                self.relay.kill();
                self.relay = self.world.relay().await.0;
            }
            1 => {
                self.consumer.0.kill();
                self.restart_consumer(true).await;
            }
            2 => {
                self.consumer.0.stop(None);
                self.restart_consumer(true).await;
            }
            3 => {
                // The old owner's actors are left running: they have to notice.
                self.world.take_over();
                self.relay = self.world.relay().await.0;
                self.restart_consumer(false).await;
            }
            4 if self.chance(40) => self.world.stream.lose_everything(),
            5 => {
                let trimmed = self.world.stream.inner().trim(DOMAIN, Position(i64::MAX)).await;
                assert!(trimmed.is_ok());
            }
            6 => {
                self.hub_actor.kill();
                self.hub_actor = start_hub(&self.world, &self.hub).await;
            }
            7 => tokio::time::sleep(Duration::from_secs(2)).await,
            8 => self.world.consumers.redrive(),
            _ => {
                let count = usize::try_from(self.rng.below(8)).unwrap();
                let sessions: Vec<SessionId> =
                    self.sessions.clone().into_iter().filter(|_| self.chance(60)).collect();
                self.world.commit(&sessions, count);
                if self.chance(70) {
                    self.world.relays.wake(SHARD);
                }
                tokio::time::sleep(Duration::from_millis(self.rng.below(60))).await;
            }
        }
    }

    /// A supervisor starts a child when the last one has ended; another node does not know.
    async fn restart_consumer(&mut self, ended: bool) {
        if ended {
            tokio::time::timeout(Duration::from_secs(60), &mut self.consumer.1).await.unwrap().unwrap();
        }
        self.consumer = consumer(&self.world, &self.seen, self.rng.below(u64::MAX)).await;
    }

    /// Everything is in the stream and handled or buried, and nothing happened that may not.
    async fn settle(&mut self) -> (usize, usize) {
        let seed = self.seed;
        self.world.faults.set(0);
        self.relay.kill();
        self.relay = self.world.relay().await.0;
        let world = Arc::clone(&self.world);
        let what = format!("seed {seed}: everything is handled");
        let all = || Position::default().plus(world.store.count(Log::DomainEvents));
        let settled = eventually(&what, || world.store.outbox() == 0 && world.store.cursor() == all());
        if tokio::time::timeout(Duration::from_secs(500), settled).await.is_err() {
            let (sender, answer) = ractor::concurrency::oneshot();
            let asked = self.consumer.0.cast(consumer::Msg::Status(sender.into()));
            let tail = world.stream.inner().tail(DOMAIN).await;
            panic!(
                "{what}: not so; head {}, unnumbered {}, stream {tail:?}, group {:?}, consumer {asked:?} {:?}",
                all(),
                world.store.outbox(),
                world.store.standing(),
                answer.await
            );
        }
        let all = world.store.numbered(Log::DomainEvents);
        // A stream that lost everything after all was handled is filled again a moment later.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        let mut tail = world.stream.inner().tail(DOMAIN).await.unwrap();
        while tail < Position::default().plus(all.len()) && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
            tail = world.stream.inner().tail(DOMAIN).await.unwrap();
        }
        assert_eq!(tail, Position::default().plus(all.len()), "seed {seed}: the stream lacks entries");
        let seen = self.seen.lock().unwrap();
        assert_eq!((seen.repeated, seen.overlapping), (0, 0), "seed {seed}: repeated or overlapping");
        let buried: HashSet<EventId> =
            world.store.letters().iter().map(|letter| letter.event.event_id).collect();
        let mut seqs: HashMap<SessionId, i64> = HashMap::new();
        for event in &all {
            let seq = seqs.entry(event.session_id).or_default();
            *seq += 1;
            assert_eq!(event.seq, *seq, "seed {seed}: order in the log");
            let effects = seen.effects.get(&event.session_id).into_iter().flatten();
            let handled = effects.clone().any(|(_, id)| *id == event.event_id);
            assert!(handled || buried.contains(&event.event_id), "seed {seed}: lost {}", event.position);
        }
        for effects in seen.effects.values() {
            let mut first = HashSet::new();
            let firsts: Vec<i64> =
                effects.iter().filter(|(_, id)| first.insert(*id)).map(|(seq, _)| *seq).collect();
            assert!(firsts.is_sorted(), "seed {seed}: effects out of order: {firsts:?}");
        }
        let effects: usize = seen.effects.values().map(Vec::len).sum();
        (all.len(), effects)
    }
}

async fn start_hub(world: &World, hub: &Hub) -> ActorRef<hub::Msg> {
    let args = hub::Arguments {
        hub: hub.clone(),
        store: Arc::clone(&world.store) as Arc<dyn Store>,
        stream: Arc::clone(&world.stream) as Arc<dyn Stream>,
    };
    Actor::spawn(None, HubActor, args).await.unwrap().0
}

/// A consumer whose sink fails, panics and dawdles by the seed.
async fn consumer(
    world: &Arc<World>,
    seen: &Arc<Mutex<Seen>>,
    seed: u64,
) -> (ActorRef<consumer::Msg>, JoinHandle<()>) {
    let (cursor, inbox) = world.store.standing();
    let done: Arc<Mutex<BTreeSet<Position>>> = Arc::new(Mutex::new(inbox));
    let rng = Mutex::new(Rng::new(seed));
    let running: Arc<Mutex<HashSet<SessionId>>> = Arc::default();
    let seen = Arc::clone(seen);
    let handler = Script(move |delivery: Delivery| {
        let fate = rng.lock().unwrap().below(100);
        let (seen, done, running) = (Arc::clone(&seen), Arc::clone(&done), Arc::clone(&running));
        async move {
            let overlapping = !running.lock().unwrap().insert(delivery.session);
            let _running = Running(Arc::clone(&running), delivery.session);
            {
                let (mut seen, done) = (seen.lock().unwrap(), done.lock().unwrap());
                seen.overlapping += usize::from(overlapping);
                let mut positions = delivery.entries.iter().map(|entry| entry.position);
                seen.repeated += usize::from(positions.any(|at| at <= cursor || done.contains(&at)));
            }
            if fate < 20 {
                tokio::time::sleep(Duration::from_millis(fate * 3)).await;
            }
            if (20..25).contains(&fate) {
                return Err(Failure::Retry { error: "scripted".into(), after: None });
            }
            if fate == 25 {
                // A panic that does not print itself a thousand times.
                std::panic::resume_unwind(Box::new("scripted panic"));
            }
            let mut seen = seen.lock().unwrap();
            let effects = seen.effects.entry(delivery.session).or_default();
            effects.extend(delivery.entries.iter().map(|entry| (entry.event.seq, entry.event.event_id)));
            done.lock().unwrap().extend(delivery.entries.iter().map(|entry| entry.position));
            Ok(())
        }
    });
    world.consumer(Arc::new(handler), Settings { drain: Duration::from_secs(1), ..Settings::default() }).await
}

/// Marks a session as being delivered until dropped, also by a panic or an abort.
struct Running(Arc<Mutex<HashSet<SessionId>>>, SessionId);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().unwrap().remove(&self.1);
    }
}

/// Follows all events, reconnecting with its position whenever it is closed.
async fn follow(world: Arc<World>, hub: Hub, seed: u64, seen: Arc<Mutex<Vec<Position>>>) {
    let mut after = Position::default();
    loop {
        let opened = Subscription::open(&hub, &world.queries, EventFilter::default(), Some(after)).await;
        let Ok(mut client) = opened else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        loop {
            match client.next().await {
                Frame::Event { position, .. } => {
                    let mut seen = seen.lock().unwrap();
                    let last = seen.last().copied().unwrap_or_default();
                    assert_eq!(position, last.plus(1), "seed {seed}: a client missed or repeated");
                    seen.push(position);
                    after = position;
                }
                Frame::Closed { resume_after, .. } => {
                    assert_eq!(resume_after, after, "seed {seed}");
                    break;
                }
            }
        }
    }
}

/// Runs one seed; answers events and effects.
async fn run(seed: u64, steps: usize) -> (usize, usize) {
    let mut run = Run::new(seed).await;
    let frames: Arc<Mutex<Vec<Position>>> = Arc::default();
    let client = follow(Arc::clone(&run.world), run.hub.clone(), seed, Arc::clone(&frames));
    let work = async {
        run.world.faults.set(10);
        for _ in 0..steps {
            run.step().await;
        }
        let figures = run.settle().await;
        eventually("the client has all", || frames.lock().unwrap().len() == figures.0).await;
        figures
    };
    tokio::select! {
        () = client => unreachable!("a client follows for ever"),
        figures = work => figures,
    }
}

#[tokio::test(start_paused = true)]
async fn no_seed_violates_a_promise() {
    let one: Option<u64> = std::env::var("RECADO_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = one.map_or_else(|| (0..80).collect(), |seed| vec![seed]);
    let (mut events, mut effects) = (0, 0);
    for seed in &seeds {
        let (all, done) = run(*seed, 200).await;
        events += all;
        effects += done;
    }
    println!(
        "{{\"name\":\"simulation\",\"seeds\":{},\"events\":{events},\"effects\":{effects},\"violations\":0}}",
        seeds.len()
    );
}
