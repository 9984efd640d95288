//! Stops, deadlines and kills.

use ractor::{ActorCell, ActorStatus};

use super::*;

/// Ends a supervisor of 20 busy workers, of which `hogs` ignore the stop. The time it took.
async fn end_with_hogs(order: StopOrder, hogs: &[usize]) -> (Duration, Arc<Log>) {
    let log = Log::new();
    let policy = Policy { stop: order, stop_within: 10 * SECOND, ..park(0) };
    let children = (0..20).map(|index| worker(&index.to_string(), &log)).collect();
    let root = root(policy, children).await;
    for index in 0..20 {
        log.tell(&index.to_string(), if hogs.contains(&index) { Do::Hang } else { Do::Work(50) });
    }
    tokio::time::sleep(ms(1)).await;
    let begin = Instant::now();
    end(root).await;
    for actor in log.actors.lock().unwrap().values() {
        assert_eq!(actor.get_status(), ActorStatus::Stopped);
    }
    (begin.elapsed(), log)
}

#[tokio::test(start_paused = true)]
async fn a_child_that_ignores_stop_is_killed_at_the_deadline_and_its_siblings_finish() {
    for order in [StopOrder::Together, StopOrder::Reverse] {
        for hogs in [&[19][..], &[0], &[3, 12, 18]] {
            let (took, log) = end_with_hogs(order, hogs).await;
            assert!((9_500..=10_500).contains(&took.as_millis()), "{order:?} {hogs:?}: {took:?}");
            let siblings = 20 - hogs.len();
            assert_eq!((log.finished(), log.post_stops()), (siblings, siblings), "{order:?} {hogs:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_one_nothing_waits_for_the_deadline() {
    let (took, log) = end_with_hogs(StopOrder::Reverse, &[]).await;
    assert!(took < SECOND, "{took:?}");
    assert_eq!(log.stops.lock().unwrap().first().map(String::as_str), Some("19"));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_ignores_its_own_stop_is_killed_and_holds_up_nobody() {
    let log = Log::new();
    let root = root(park(100), vec![worker("hog", &log), worker("a", &log)]).await;
    log.tell("hog", Do::Hang);
    tokio::time::sleep(ms(1)).await;
    let begin = Instant::now();
    let supervisor = root.0.clone();
    let stopped = async { (stop(&supervisor, "hog", SOON).await, begin.elapsed()) };
    let meanwhile = async {
        until("it stops", async || {
            node(&root.0, "hog").await.is_some_and(|hog| hog.phase == Phase::Stopping)
        })
        .await;
        assert_eq!(start(&root.0, worker("hog", &log), SOON).await, Err(StartError::Exists));
        assert_eq!(restart(&root.0, "hog", SOON).await, Err(RestartError::Stopping));
        add(&root.0, worker("b", &log)).await;
        log.tell("a", Do::Panic);
        until("a is back", async || log.starts() == 4).await;
        assert!(begin.elapsed() < SECOND);
    };
    let ((done, took), ()) = tokio::join!(stopped, meanwhile);
    assert!(done && (9_500..=10_500).contains(&took.as_millis()), "{took:?}");
    assert!(node(&root.0, "hog").await.is_none());
    add(&root.0, worker("hog", &log)).await;
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn two_stops_of_one_child_are_both_answered_and_an_unknown_one_at_once() {
    let log = Log::new();
    let root = root(park(100), vec![worker("a", &log)]).await;
    log.tell("a", Do::Work(1_000));
    tokio::time::sleep(ms(1)).await;
    let (one, two) = tokio::join!(stop(&root.0, "a", SOON), stop(&root.0, "a", SOON));
    assert!(one && two && stop(&root.0, "nobody", SOON).await);
    assert_eq!((log.finished(), log.post_stops(), list(&root.0).await.len()), (1, 1, 0));
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_for_the_whole_tree() {
    let log = Log::new();
    let below = Arc::clone(&log);
    let slow = Policy { stop_within: 3_600 * SECOND, ..escalate(0) };
    let mid = branch("mid", "branch", Restart::Permanent, move || {
        (slow.clone(), vec![worker("hog", &below), worker("sibling", &below)])
    });
    let (root, task) = root(escalate(0), vec![worker("first", &log), mid, worker("last", &log)]).await;
    log.tell("hog", Do::Hang);
    log.tell("sibling", Do::Work(500));
    tokio::time::sleep(ms(1)).await;
    let begin = Instant::now();
    assert!(shutdown(&root, 20 * SECOND).await);
    task.await.unwrap();
    let took = begin.elapsed();
    assert!((17_500..=20_500).contains(&took.as_millis()), "{took:?}");
    assert_eq!(log.finished(), 1, "the sibling of the hog finished");
    assert_eq!(log.post_stops(), 3, "all but the hog ended in order");
    assert_eq!(log.actor("hog").get_status(), ActorStatus::Stopped);
}

/// Never ends by itself once it is asked to stop.
struct Stubborn;

impl Actor for Stubborn {
    type Msg = ();
    type State = ();
    type Arguments = Arc<Mutex<Option<ActorCell>>>;

    async fn pre_start(&self, myself: ActorRef<()>, seen: Self::Arguments) -> Result<(), ActorProcessingErr> {
        *seen.lock().unwrap() = Some(myself.get_cell());
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<()>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_killed_in_the_middle_of_its_stop_leaves_nobody_behind() {
    let seen = Arc::new(Mutex::new(None));
    let known = Arc::clone(&seen);
    let child = leaf("stubborn", "stubborn", Restart::Permanent, move || (Stubborn, Arc::clone(&known)));
    let (root, task) = root(park(0), vec![child]).await;
    let stubborn: ActorCell = seen.lock().unwrap().clone().unwrap();
    root.stop(None);
    until("it is stopping", async || stubborn.get_status() == ActorStatus::Stopping).await;
    root.kill();
    task.await.unwrap();
    until("it is gone", async || stubborn.get_status() == ActorStatus::Stopped).await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_stops_while_children_start_or_wait_leaves_nobody_behind() {
    let log = Log::new();
    let root = root(Policy { starts: 2, ..park(100) }, vec![worker("a", &log), worker("b", &log)]).await;
    log.tell("b", Do::Panic);
    until("b waits", async || phases(&root.0).await == (1, 1, 0)).await;
    log.start_millis.store(10_000, SeqCst);
    let supervisor = root.0.clone();
    let starts = async {
        let children = ["c", "d", "e"].map(|key| start(&supervisor, worker(key, &log), SOON));
        futures_util::future::join_all(children).await
    };
    let ended = async {
        until("all come", async || list(&root.0).await.len() == 5).await;
        let begin = Instant::now();
        end(root).await;
        begin.elapsed()
    };
    let (starts, took) = tokio::join!(starts, ended);
    assert!(starts.iter().all(|started| *started == Err(StartError::Unreachable)), "{starts:?}");
    assert!(took < SECOND, "{took:?}");
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!((log.starts(), log.post_stops(), log.starting.load(SeqCst)), (2, 1, 0));
}
