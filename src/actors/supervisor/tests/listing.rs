//! The live tree, restarts on request, and the metrics.

use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;

/// A supervisor's mailbox that nobody reads.
struct Deaf;

impl Actor for Deaf {
    type Msg = Msg;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Msg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Msg>, _: Msg, (): &mut ()) -> Result<(), ActorProcessingErr> {
        pending().await
    }
}

/// A line per node: its depth as dots, its key and its phase.
fn lines(nodes: &[Node], depth: usize) -> Vec<String> {
    let line = |node: &Node| format!("{}{} {} {:?}", ".".repeat(depth), node.kind, node.key, node.phase);
    let below = |node: &Node| lines(node.children.as_deref().unwrap_or_default(), depth + 1);
    nodes.iter().flat_map(|node| std::iter::once(line(node)).chain(below(node))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_tree_is_listed_to_its_leaves_in_start_order() {
    let log = Log::new();
    let below = Arc::clone(&log);
    let shard = branch("shard-0", "shard", Restart::Permanent, move || {
        let sessions = Arc::clone(&below);
        let sessions = branch("sessions", "sessions", Restart::Permanent, move || {
            (park(0), vec![worker("s1", &sessions), worker("s2", &sessions)])
        });
        (escalate(0), vec![worker("relay", &below), sessions])
    });
    let root = root(park(1), vec![worker("ledger", &log), shard, worker("http", &log)]).await;
    log.tell("s1", Do::Panic);
    log.tell("http", Do::Panic);
    until("http waits", async || phases(&root.0).await == (2, 1, 0)).await;
    let nodes = tree(&root.0, SOON).await.unwrap();
    let Phase::Waiting { restart_in_ms } = nodes[2].phase else { panic!("{:?}", nodes[2]) };
    assert!((1..=100).contains(&restart_in_ms));
    assert_eq!(
        lines(&nodes, 0),
        [
            "worker ledger Running".to_owned(),
            "shard shard-0 Running".to_owned(),
            ".worker relay Running".to_owned(),
            ".sessions sessions Running".to_owned(),
            "..worker s1 Parked".to_owned(),
            "..worker s2 Running".to_owned(),
            format!("worker http Waiting {{ restart_in_ms: {restart_in_ms} }}"),
        ]
    );
    let json = serde_json::to_value(&nodes).unwrap();
    assert_eq!(json[0]["phase"], "running");
    assert_eq!(json[1]["children"][1]["children"][0]["phase"], "parked");
    assert_eq!(json[1]["children"][1]["children"][0]["lastReason"], "a panic in a handler");
    assert_eq!(json[2]["restartInMs"], restart_in_ms);
    assert!(json[0].get("children").is_none());
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_does_not_answer_costs_that_branch_only() {
    let log = Log::new();
    let deaf = child("deaf", "deaf", Restart::Permanent, |above| async {
        Ok(Started::branch(Actor::spawn_linked(None, Deaf, (), above).await?.0))
    });
    let below = Arc::clone(&log);
    let good = branch("good", "branch", Restart::Permanent, move || (park(0), vec![worker("a", &below)]));
    let root = root(park(0), vec![deaf, good]).await;
    let begin = Instant::now();
    let nodes = tree(&root.0, 2 * SECOND).await.unwrap();
    assert!(begin.elapsed() < 2 * SECOND, "{:?}", begin.elapsed());
    assert_eq!((nodes[0].no_answer, &nodes[0].children), (true, &None));
    assert_eq!(lines(&nodes[1..], 0), ["branch good Running", ".worker a Running"]);
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_on_request_wakes_the_parked_and_the_waiting_and_renews_the_running() {
    let log = Log::new();
    let policy = Policy { schedule: Schedule::steps([3_600 * SECOND]), within: 36_000 * SECOND, ..park(1) };
    let root = root(policy, vec![worker("a", &log)]).await;
    assert_eq!(restart(&root.0, "nobody", SOON).await, Err(RestartError::Unknown));

    log.tell("a", Do::Work(100));
    tokio::time::sleep(ms(1)).await;
    restart(&root.0, "a", SOON).await.unwrap();
    until("a runs anew", async || log.starts() == 2).await;
    assert_eq!((log.finished(), log.post_stops()), (1, 1), "it was stopped in order");

    log.tell("a", Do::Panic);
    until("a waits", async || phases(&root.0).await == (0, 1, 0)).await;
    restart(&root.0, "a", SOON).await.unwrap();
    until("a is back before its time", async || log.starts() == 3).await;

    // The failure before the request is forgiven: one more is followed by a restart, and only the next one parks.
    log.tell("a", Do::Panic);
    until("a waits", async || phases(&root.0).await == (0, 1, 0)).await;
    tokio::time::sleep(3_600 * SECOND).await;
    until("a is back", async || log.starts() == 4).await;
    log.tell("a", Do::Panic);
    until("a is parked", async || phases(&root.0).await == (0, 0, 1)).await;
    restart(&root.0, "a", SOON).await.unwrap();
    until("a is back", async || phases(&root.0).await == (1, 0, 0)).await;
    end(root).await;
}

#[tokio::test(start_paused = true)]
async fn restarts_and_parked_children_are_counted_by_kind() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let log = Log::new();
    let root = root(park(1), vec![worker("a", &log), worker("b", &log)]).await;
    for _ in 0..2 {
        until("a runs", async || phases(&root.0).await == (2, 0, 0)).await;
        log.tell("a", Do::Panic);
        until("a is down", async || phases(&root.0).await.0 == 1).await;
    }
    let shown = metrics.render();
    assert!(shown.contains("supervisor_restarts_total{kind=\"worker\"} 1"), "{shown}");
    assert!(shown.contains("supervisor_parked{kind=\"worker\"} 1"), "{shown}");
    restart(&root.0, "a", SOON).await.unwrap();
    until("a runs", async || phases(&root.0).await == (2, 0, 0)).await;
    let shown = metrics.render();
    assert!(shown.contains("supervisor_restarts_total{kind=\"worker\"} 2"), "{shown}");
    assert!(shown.contains("supervisor_parked{kind=\"worker\"} 0"), "{shown}");
    end(root).await;
}
