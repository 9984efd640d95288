//! Starts and stops at random moments, on real threads and real time.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Handle;

use super::*;
use crate::actors::mailbox::{Letter, Mailbox};
use crate::actors::task::{ChildTask, spawn_child};

/// Reads a bounded mailbox slowly, and has a task that never ends and one that does.
struct Reader;

struct ReaderState {
    _endless: ChildTask,
    waiting: Vec<Letter<u64>>,
}

impl Actor for Reader {
    type Msg = Letter<u64>;
    type State = ReaderState;
    type Arguments = Mailbox<u64>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        mailbox: Mailbox<u64>,
    ) -> Result<Self::State, ActorProcessingErr> {
        let _endless = spawn_child(&myself, pending(), |_: Result<(), _>| unreachable!());
        tokio::task::yield_now().await;
        mailbox.bind(myself);
        Ok(ReaderState { _endless, waiting: Vec::new() })
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        letter: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        state.waiting.push(letter);
        if state.waiting.len() < 8 {
            return Ok(());
        }
        let micros: u64 = state.waiting.drain(..).map(|letter| letter.open().0).sum();
        tokio::time::sleep(Duration::from_micros(micros)).await;
        if micros.is_multiple_of(5) { Err("every fifth time".into()) } else { Ok(()) }
    }
}

fn reader(key: &str, mailbox: &Mailbox<u64>) -> Child {
    let mailbox = mailbox.clone();
    leaf(key, "reader", Restart::Permanent, move || (Reader, mailbox.clone()))
}

fn quick(exhausted: Exhausted, stop: StopOrder) -> Policy {
    let schedule = Schedule::exponential(ms(1), ms(4));
    Policy { schedule, failures: 20, exhausted, stop, starts: 2, stop_within: 5 * SECOND, ..Policy::park() }
}

fn small_tree(mailboxes: &[Mailbox<u64>; 3]) -> Vec<Child> {
    let [one, two, three] = mailboxes.clone();
    let below = branch("below", "branch", Restart::Permanent, move || {
        (quick(Exhausted::Park, StopOrder::Together), vec![reader("two", &two), reader("three", &three)])
    });
    vec![reader("one", &one), below]
}

/// One life of a small tree: letters, kills, starts, stops and restarts until the end comes at a random moment.
async fn one_round(seed: u64, mailboxes: [Mailbox<u64>; 3]) {
    let mut random = StdRng::seed_from_u64(seed);
    let policy = quick(Exhausted::Escalate, StopOrder::Reverse);
    let (root, task) = spawn_root(policy, small_tree(&mailboxes)).await.unwrap();
    for _ in 0..random.random_range(0..40) {
        match random.random_range(0..6) {
            0 => drop(start(&root, reader("one", &mailboxes[0]), ms(random.random_range(0..3))).await),
            1 => drop(stop(&root, "one", ms(random.random_range(0..3))).await),
            2 => drop(restart(&root, "below", ms(random.random_range(0..3))).await),
            3 => root.get_children().first().into_iter().for_each(|child| child.kill()),
            _ => {
                for mailbox in mailboxes.iter().cycle().take(30) {
                    let _refused = mailbox.try_send(random.random_range(1..50));
                }
            }
        }
    }
    if random.random_bool(0.2) {
        root.kill();
    } else if random.random_bool(0.5) {
        root.stop(None);
    } else {
        assert!(shutdown(&root, 5 * SECOND).await, "hung: seed {seed}");
    }
    timeout(SOON, task).await.unwrap_or_else(|_| panic!("hung: seed {seed}")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_200_starts_and_stops_at_random_moments_nothing_hangs_or_leaks() {
    let base: u64 = rand::random();
    let mailboxes = [Mailbox::new(16), Mailbox::new(16), Mailbox::new(16)];
    let before = Handle::current().metrics().num_alive_tasks();
    for round in 0..200 {
        timeout(SOON, one_round(base.wrapping_add(round), mailboxes.clone())).await.expect("a round ends");
    }
    let leaked_tasks = || Handle::current().metrics().num_alive_tasks().saturating_sub(before);
    let leaked_places = || mailboxes.iter().map(Mailbox::len).sum::<usize>();
    until(&format!("tasks and places come back, first seed {base}"), async || {
        leaked_tasks() == 0 && leaked_places() == 0
    })
    .await;
    println!(
        "{{\"rounds\":200,\"hung\":0,\"leaked_tasks\":{},\"leaked_permits\":{}}}",
        leaked_tasks(),
        leaked_places()
    );
}
