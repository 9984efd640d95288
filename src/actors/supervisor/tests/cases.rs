//! The eight cases that decided for a supervisor of our own.

use ractor::ActorStatus;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_child_stopped_while_it_waits_for_its_restart_stays_stopped() {
    let log = Log::new();
    let root = root(park(100), vec![]).await;
    add(&root.0, worker("a", &log)).await;
    log.tell("a", Do::Panic);
    until("a waits", async || phases(&root.0).await == (0, 1, 0)).await;
    assert!(stop(&root.0, "a", SOON).await);
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!((log.starts(), list(&root.0).await.len()), (1, 0));
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn a_first_start_that_fails_is_an_error_and_keeps_nothing() {
    let log = Log::new();
    let root = root(park(100), vec![]).await;
    for (fails, text) in [(&log.fail_start, "no start"), (&log.panic_start, "bad start")] {
        fails.store(true, SeqCst);
        let started = start(&root.0, worker("a", &log), SOON).await;
        assert!(matches!(&started, Err(StartError::Failed(reason)) if reason.contains(text)), "{started:?}");
        assert!(list(&root.0).await.is_empty());
        fails.store(false, SeqCst);
    }
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(log.starts(), 0, "nothing tries again");
    add(&root.0, worker("a", &log)).await;
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_child_counts_as_failed() {
    let log = Log::new();
    let root = root(park(100), vec![]).await;
    add(&root.0, worker_as("a", Restart::Transient, &log)).await;
    log.actor("a").kill();
    until("a is back", async || log.starts() == 2).await;
    until("a runs", async || phases(&root.0).await == (1, 0, 0)).await;
    let node = node(&root.0, "a").await.unwrap();
    assert_eq!((node.restarts, node.last_reason.as_deref()), (1, Some("killed")));
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn each_child_has_its_own_budget_and_a_parked_one_leaves_its_siblings_alone() {
    let log = Log::new();
    let root = root(park(5), vec![]).await;
    for index in 0..20 {
        add(&root.0, worker(&format!("b{index}"), &log)).await;
    }
    for index in 0..6 {
        log.tell(&format!("b{index}"), Do::Panic);
    }
    until("six are back", async || log.starts() == 26).await;
    until("all run", async || phases(&root.0).await == (20, 0, 0)).await;
    for failure in 1..=5 {
        log.tell("b19", Do::Fail);
        until("b19 is back", async || log.starts() == 26 + failure).await;
        until("b19 runs", async || phases(&root.0).await == (20, 0, 0)).await;
    }
    log.tell("b19", Do::Fail);
    until("b19 is parked", async || phases(&root.0).await == (19, 0, 1)).await;
    tokio::time::sleep(3_600 * SECOND).await;
    assert_eq!((log.starts(), phases(&root.0).await), (31, (19, 0, 1)));
    let parked = node(&root.0, "b19").await.unwrap();
    assert!(parked.last_reason.unwrap().contains("a failure in a handler"));
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn of_1_000_children_that_fail_at_once_all_come_back() {
    let log = Log::new();
    let root = root(Policy { starts: 25, ..park(100) }, vec![]).await;
    for index in 0..1_000 {
        add(&root.0, worker(&index.to_string(), &log)).await;
    }
    log.start_millis.store(10, SeqCst);
    let begin = Instant::now();
    for index in 0..1_000 {
        log.tell(&index.to_string(), if index % 2 == 0 { Do::Panic } else { Do::Fail });
    }
    until("all are back", async || log.starts() == 2_000).await;
    until("all run", async || phases(&root.0).await == (1_000, 0, 0)).await;
    // 40 rounds of 25 starts of 10 ms, after at most 100 ms of waiting.
    assert!(begin.elapsed() < ms(700), "{:?}", begin.elapsed());
    assert_eq!(log.most_starting.load(SeqCst), 25, "the cap is used and kept");
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn a_stopping_supervisor_lets_200_busy_children_finish() {
    let log = Log::new();
    let root = root(park(100), vec![]).await;
    for index in 0..200 {
        add(&root.0, worker(&index.to_string(), &log)).await;
        log.tell(&index.to_string(), Do::Work(50));
    }
    tokio::time::sleep(ms(10)).await;
    let begin = Instant::now();
    end(root).await;
    assert_eq!((log.finished(), log.post_stops()), (200, 200));
    assert!(begin.elapsed() < ms(100), "together, not one after the other: {:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_linked_stranger_that_fails_is_ignored() {
    let log = Log::new();
    let root = root(park(100), vec![]).await;
    add(&root.0, worker("good", &log)).await;
    let arguments = ("stranger".to_owned(), Arc::clone(&log));
    let (stranger, task) = Actor::spawn_linked(None, Worker, arguments, root.0.get_cell()).await.unwrap();
    stranger.cast(Do::Panic).unwrap();
    task.await.unwrap();
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!((phases(&root.0).await, log.starts()), ((1, 0, 0), 2));
    assert_eq!(root.0.get_status(), ActorStatus::Running);
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_below_restarts_the_whole_subtree_and_the_stop_is_in_reverse() {
    let log = Log::new();
    let below = Arc::clone(&log);
    let mid = branch("mid", "branch", Restart::Permanent, move || {
        (escalate(2), vec![worker("leaf", &below), worker("other", &below)])
    });
    let root = root(escalate(5), vec![mid]).await;
    for expected in [3, 4, 6] {
        log.tell("leaf", Do::Panic);
        until("restarted", async || log.starts() == expected).await;
    }
    // 2 at first, 2 restarts of the leaf, then both with their subtree; the sibling was stopped in order.
    assert_eq!(*log.stops.lock().unwrap(), ["other"]);
    until("mid runs", async || phases(&root.0).await == (1, 0, 0)).await;
    let mid = node(&root.0, "mid").await.unwrap();
    assert_eq!(mid.restarts, 1);
    let reason = mid.last_reason.unwrap();
    assert!(reason.contains("leaf spent its restart budget"), "{reason}");
    end(root).await;
    assert_eq!(*log.stops.lock().unwrap(), ["other", "other", "leaf"]);
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_at_the_root_ends_the_root() {
    let log = Log::new();
    let (root, task) = root(escalate(0), vec![worker("a", &log), worker("b", &log)]).await;
    log.tell("a", Do::Fail);
    timeout(SOON, task).await.unwrap().unwrap();
    assert_eq!(root.get_status(), ActorStatus::Stopped);
    assert_eq!((log.starts(), log.post_stops()), (2, 1), "b ended in order");
}
