//! Starts: their cap, their deadline, their failures, and stops in the middle of them.

use futures_util::future::join_all;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_at_a_restart_counts_as_a_failure_and_is_tried_again() {
    let log = Log::new();
    let root = root(park(3), vec![worker("a", &log)]).await;
    log.fail_start.store(true, SeqCst);
    log.tell("a", Do::Panic);
    until("two restarts failed", async || node(&root.0, "a").await.unwrap().restarts == 2).await;
    log.fail_start.store(false, SeqCst);
    until("a is back", async || log.starts() == 2).await;
    until("a runs", async || phases(&root.0).await == (1, 0, 0)).await;
    assert_eq!(node(&root.0, "a").await.unwrap().restarts, 3);
    log.panic_start.store(true, SeqCst);
    log.tell("a", Do::Panic);
    until("a is parked", async || phases(&root.0).await == (0, 0, 1)).await;
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn first_children_start_in_order_and_one_failure_stops_those_before() {
    let log = Log::new();
    let broken = child("broken", "broken", Restart::Permanent, |_| async {
        Err(SpawnErr::StartupFailed("not today".into()))
    });
    let children = vec![worker("a", &log), worker("b", &log), broken, worker("c", &log)];
    let error = spawn_root(escalate(5), children).await.unwrap_err().to_string();
    assert!(error.contains("broken") && error.contains("not today"), "{error}");
    assert_eq!(log.starts(), 2);
    assert_eq!(*log.stops.lock().unwrap(), ["b", "a"]);
}

#[tokio::test(start_paused = true)]
async fn slow_starts_hold_up_neither_the_supervisor_nor_each_other() {
    let log = Log::new();
    let root = root(Policy { starts: 3, ..park(100) }, vec![]).await;
    log.start_millis.store(1_000, SeqCst);
    let begin = Instant::now();
    let starts = async {
        let keys: Vec<String> = (0..9).map(|index| index.to_string()).collect();
        join_all(keys.iter().map(|key| start(&root.0, worker(key, &log), SOON))).await
    };
    let meanwhile = async {
        until("all are known", async || list(&root.0).await.len() == 9).await;
        assert!(begin.elapsed() < ms(100), "a list while starting took {:?}", begin.elapsed());
    };
    let (starts, ()) = tokio::join!(starts, meanwhile);
    assert!(starts.iter().all(Result::is_ok), "{starts:?}");
    assert_eq!(log.most_starting.load(SeqCst), 3);
    assert!(
        (3_000..3_100).contains(&begin.elapsed().as_millis()),
        "three rounds of 1 s: {:?}",
        begin.elapsed()
    );
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn a_child_stopped_while_it_starts_or_queues_never_runs() {
    let log = Log::new();
    let root = root(Policy { starts: 1, ..park(100) }, vec![]).await;
    log.hang_start.store(true, SeqCst);
    let starts = async {
        tokio::join!(start(&root.0, worker("a", &log), SOON), start(&root.0, worker("b", &log), SOON))
    };
    let stops = async {
        until("both come", async || list(&root.0).await.len() == 2).await;
        until("one starts", async || log.starting.load(SeqCst) == 1).await;
        assert!(stop(&root.0, "b", SOON).await && stop(&root.0, "a", SOON).await);
    };
    let begin = Instant::now();
    let (results, ()) = tokio::join!(starts, stops);
    assert_eq!(results, (Err(StartError::Stopped), Err(StartError::Stopped)));
    assert!(begin.elapsed() < SECOND);
    assert_eq!((log.starting.load(SeqCst), list(&root.0).await.len()), (0, 0));
    log.hang_start.store(false, SeqCst);
    add(&root.0, worker("a", &log)).await;
    assert_eq!(log.starts(), 1, "the place of the stopped start is free again");
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_never_ends_is_given_up_in_time() {
    let log = Log::new();
    let root = root(Policy { start_within: 5 * SECOND, ..park(0) }, vec![worker("a", &log)]).await;
    log.hang_start.store(true, SeqCst);
    let begin = Instant::now();
    assert_eq!(start(&root.0, worker("b", &log), SOON).await, Err(StartError::Late(5 * SECOND)));
    assert_eq!(begin.elapsed().as_secs(), 5);
    assert_eq!((log.starting.load(SeqCst), list(&root.0).await.len()), (0, 1));
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_is_taken_once_and_there_are_only_so_many_children() {
    let log = Log::new();
    let root = root(Policy { children: 2, ..park(0) }, vec![worker("a", &log)]).await;
    assert_eq!(start(&root.0, worker("a", &log), SOON).await, Err(StartError::Exists));
    add(&root.0, worker("b", &log)).await;
    assert_eq!(start(&root.0, worker("c", &log), SOON).await, Err(StartError::Full(2)));
    assert_eq!(log.starts(), 2);
    end(root).await;
}

/// Fails before its start is reported, as long as told to.
struct Hasty;

impl Actor for Hasty {
    type Msg = ();
    type State = Arc<AtomicUsize>;
    type Arguments = Arc<AtomicUsize>;

    async fn pre_start(
        &self,
        _: ActorRef<()>,
        failures: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(failures)
    }

    async fn post_start(&self, _: ActorRef<()>, left: &mut Self::State) -> Result<(), ActorProcessingErr> {
        match left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Err("too hasty".into()),
            Err(_) => Ok(()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_ends_before_its_start_is_reported_is_not_taken_for_alive() {
    let failures = Arc::new(AtomicUsize::new(2));
    let left = Arc::clone(&failures);
    // The report comes long after the end.
    let hasty = child("hasty", "hasty", Restart::Permanent, move |above| {
        let left = Arc::clone(&left);
        async move {
            let (actor, _) = Actor::spawn_linked(None, Hasty, left, above).await?;
            tokio::time::sleep(SECOND).await;
            Ok(Started::leaf(&actor))
        }
    });
    let root = root(park(5), vec![]).await;
    add(&root.0, hasty).await;
    until("it is restarted twice", async || node(&root.0, "hasty").await.unwrap().restarts == 2).await;
    until("it runs", async || phases(&root.0).await == (1, 0, 0)).await;
    tokio::time::sleep(60 * SECOND).await;
    let hasty = node(&root.0, "hasty").await.unwrap();
    assert_eq!((hasty.phase, hasty.restarts, failures.load(SeqCst)), (Phase::Running, 2, 0));
    end(root).await;
}
