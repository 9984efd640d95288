//! The promises of supervision, one test each. Time is paused wherever it matters.

mod cases;
mod ending;
mod listing;
mod starting;
mod stress;
mod weeks;

use std::collections::HashMap;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::JoinHandle;

use super::*;
use crate::domain::retry::Schedule;

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(60);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What the workers of one test did.
#[derive(Default)]
struct Log {
    starts: AtomicUsize,
    post_stops: AtomicUsize,
    finished: AtomicUsize,
    /// Starts fail, starts panic, starts never end.
    fail_start: AtomicBool,
    panic_start: AtomicBool,
    hang_start: AtomicBool,
    /// How long a start takes, and how many ran at once.
    start_millis: AtomicUsize,
    starting: AtomicUsize,
    most_starting: AtomicUsize,
    actors: Mutex<HashMap<String, ActorRef<Do>>>,
    /// The keys in the order of their `post_stop`.
    stops: Mutex<Vec<String>>,
}

impl Log {
    fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    fn starts(&self) -> usize {
        self.starts.load(SeqCst)
    }

    fn post_stops(&self) -> usize {
        self.post_stops.load(SeqCst)
    }

    fn finished(&self) -> usize {
        self.finished.load(SeqCst)
    }

    fn actor(&self, key: &str) -> ActorRef<Do> {
        self.actors.lock().unwrap()[key].clone()
    }

    /// Tells a worker what to do; one that is down does not hear it.
    fn tell(&self, key: &str, what: Do) {
        let _down = self.actor(key).cast(what);
    }
}

/// Counts a start for as long as it runs.
struct Underway<'a>(&'a Log);

impl<'a> Underway<'a> {
    fn new(log: &'a Log) -> Self {
        let now = log.starting.fetch_add(1, SeqCst) + 1;
        log.most_starting.fetch_max(now, SeqCst);
        Self(log)
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        self.0.starting.fetch_sub(1, SeqCst);
    }
}

#[derive(Default)]
struct Worker;

#[derive(Clone, Copy)]
enum Do {
    Panic,
    Fail,
    /// Work for so many milliseconds.
    Work(u64),
    /// Never come back from the handler, so that no stop is heard.
    Hang,
    /// End in order.
    End,
}

impl Actor for Worker {
    type Msg = Do;
    type State = (String, Arc<Log>);
    type Arguments = (String, Arc<Log>);

    async fn pre_start(
        &self,
        myself: ActorRef<Do>,
        (key, log): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let underway = Underway::new(&log);
        tokio::time::sleep(ms(log.start_millis.load(SeqCst) as u64)).await;
        if log.hang_start.load(SeqCst) {
            pending::<()>().await;
        }
        assert!(!log.panic_start.load(SeqCst), "bad start");
        if log.fail_start.load(SeqCst) {
            return Err("no start".into());
        }
        log.starts.fetch_add(1, SeqCst);
        log.actors.lock().unwrap().insert(key.clone(), myself);
        drop(underway);
        Ok((key, log))
    }

    async fn handle(
        &self,
        myself: ActorRef<Do>,
        what: Do,
        (_, log): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match what {
            Do::Panic => panic!("a panic in a handler"),
            Do::Fail => return Err("a failure in a handler".into()),
            Do::Work(millis) => {
                tokio::time::sleep(ms(millis)).await;
                log.finished.fetch_add(1, SeqCst);
            }
            Do::Hang => pending().await,
            Do::End => myself.stop(Some("done".to_owned())),
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<Do>,
        (key, log): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        log.post_stops.fetch_add(1, SeqCst);
        log.stops.lock().unwrap().push(key.clone());
        Ok(())
    }
}

fn worker_as(key: &str, restart: Restart, log: &Arc<Log>) -> Child {
    let (name, log) = (key.to_owned(), Arc::clone(log));
    leaf(key, "worker", restart, move || (Worker, (name.clone(), Arc::clone(&log))))
}

fn worker(key: &str, log: &Arc<Log>) -> Child {
    worker_as(key, Restart::Permanent, log)
}

/// Parks a hopeless child; a restart waits 50 to 100 ms.
fn park(failures: u32) -> Policy {
    Policy { schedule: Schedule::steps([ms(100)]), failures, stop_within: 10 * SECOND, ..Policy::park() }
}

/// Escalates, and stops in reverse order.
fn escalate(failures: u32) -> Policy {
    Policy { schedule: Schedule::steps([ms(100)]), failures, stop_within: 10 * SECOND, ..Policy::escalate() }
}

async fn root(policy: Policy, children: Vec<Child>) -> (ActorRef<Msg>, JoinHandle<()>) {
    spawn_root(policy, children).await.unwrap()
}

async fn add(supervisor: &ActorRef<Msg>, child: Child) {
    start(supervisor, child, SOON).await.unwrap();
}

async fn list(supervisor: &ActorRef<Msg>) -> Vec<Node> {
    ask(supervisor, Msg::List, SOON).await.unwrap()
}

async fn node(supervisor: &ActorRef<Msg>, key: &str) -> Option<Node> {
    list(supervisor).await.into_iter().find(|node| node.key == key)
}

/// How many children run, wait and are parked.
async fn phases(supervisor: &ActorRef<Msg>) -> (usize, usize, usize) {
    let nodes = list(supervisor).await;
    let count = |wanted: fn(&Phase) -> bool| nodes.iter().filter(|node| wanted(&node.phase)).count();
    (
        count(|phase| *phase == Phase::Running),
        count(|phase| matches!(phase, Phase::Waiting { .. })),
        count(|phase| *phase == Phase::Parked),
    )
}

/// Waits until the condition holds, for a minute at most.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(ms(1)).await;
    }
}

/// Stops a tree and waits for its end.
async fn end(root: (ActorRef<Msg>, JoinHandle<()>)) {
    root.0.stop(None);
    timeout(SOON, root.1).await.expect("the tree ends").unwrap();
}
