//! Long spans of simulated time, and which ends are followed by a restart.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_week_of_nightly_failures_costs_a_restart_each_and_parks_nobody() {
    let log = Log::new();
    let root = root(Policy::park(), vec![worker("s", &log)]).await;
    let begin = Instant::now();
    for night in 1..=7 {
        tokio::time::sleep_until(begin + 24 * 3_600 * SECOND * night).await;
        let failed = Instant::now();
        log.tell("s", Do::Fail);
        let starts = usize::try_from(night).unwrap() + 1;
        until("s is back", async || log.starts() == starts).await;
        assert!(failed.elapsed() <= ms(1_010), "each night starts over with the first delay");
    }
    assert_eq!(begin.elapsed().as_secs() / 86_400, 7);
    until("s runs", async || phases(&root.0).await == (1, 0, 0)).await;
    assert_eq!(node(&root.0, "s").await.unwrap().restarts, 7);
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn an_endless_budget_keeps_trying_through_a_day_of_outage() {
    let log = Log::new();
    let root = root(Policy { failures: Policy::ENDLESS, ..Policy::park() }, vec![worker("s", &log)]).await;
    log.fail_start.store(true, SeqCst);
    log.tell("s", Do::Fail);
    tokio::time::sleep(24 * 3_600 * SECOND).await;
    let tries = node(&root.0, "s").await.unwrap().restarts;
    // A wait is 30 s on average once the cap of 60 s is reached: 2,880 a day, twenty deviations either way.
    assert!((2_250..=3_500).contains(&tries), "{tries} tries");
    log.fail_start.store(false, SeqCst);
    until("s is back within the cap", async || log.starts() == 2).await;
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_outside_the_window_is_forgotten() {
    let log = Log::new();
    let root = root(Policy { within: 10 * SECOND, ..park(1) }, vec![worker("a", &log)]).await;
    for failure in 1..=5 {
        log.tell("a", Do::Fail);
        until("a is back", async || log.starts() == failure + 1).await;
        until("a runs", async || phases(&root.0).await == (1, 0, 0)).await;
        tokio::time::sleep(11 * SECOND).await;
    }
    for _ in 0..2 {
        until("a runs", async || phases(&root.0).await.0 == 1).await;
        log.tell("a", Do::Fail);
        until("a is down", async || phases(&root.0).await.0 == 0).await;
    }
    assert_eq!(phases(&root.0).await, (0, 0, 1));
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn an_orderly_end_removes_all_but_a_permanent_child() {
    let log = Log::new();
    let kinds = [("p", Restart::Permanent), ("t", Restart::Transient), ("n", Restart::Never)];
    let children = kinds.map(|(key, restart)| worker_as(key, restart, &log)).to_vec();
    let root = root(park(5), children).await;
    for (key, _) in kinds {
        log.tell(key, Do::End);
    }
    until("p is back", async || log.starts() == 4).await;
    let nodes = list(&root.0).await;
    assert_eq!((nodes.len(), nodes[0].key.as_str(), nodes[0].last_reason.as_deref()), (1, "p", Some("done")));
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_never_restarted_is_gone_after_a_failure() {
    let log = Log::new();
    let root = root(park(5), vec![worker_as("n", Restart::Never, &log)]).await;
    log.tell("n", Do::Panic);
    until("n is gone", async || list(&root.0).await.is_empty()).await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(log.starts(), 1);
    end(root).await;
}
