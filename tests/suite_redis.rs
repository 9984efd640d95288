//! The stream's contract on Redis, and what is Redis' own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::or_fun_call,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    clippy::print_stdout,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers are no tests to the linter"
)]

mod servers;
#[path = "suite/stream/mod.rs"]
#[macro_use]
mod stream;

use std::sync::Arc;
use std::time::Duration;

use recado::domain::Kind;
use recado::domain::event::Log;
use recado::domain::ids::{Epoch, Position, Shard};
use recado::infra::stream::hints::Hints;
use recado::infra::stream::redis::{RedisStream, Settings};
use recado::infra::stream::{Appended, Burial, Stream, StreamKey};
use servers::redis::{Keeps, Redis, apart, open as opened, shared};
use stream::{EPOCH, Fixture, KEY, NOW, SOON, START, entries, grow, positions, same};
use tokio::time::{Instant, timeout};

async fn open(entries: usize) -> Fixture {
    let settings = Settings { entries, shards: 2, ..apart() };
    Fixture { stream: Arc::new(opened(&shared(), settings)), keep: Box::new(()) }
}

stream_suite!(open);

fn fresh() -> RedisStream {
    opened(&shared(), apart())
}

/// A connection that knows nothing of ours.
async fn outsider(url: &str) -> redis::aio::MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

#[tokio::test]
async fn bytes_are_bounded_and_one_large_batch_still_passes() {
    let stream = opened(&shared(), Settings { bytes: 200_000, entries: 1_000_000, ..apart() });
    let mut tail = START;
    while stream.append(KEY, EPOCH, tail, &entries(tail, 10)).await.unwrap() == Appended::All {
        tail = tail.plus(10);
        assert!(tail < Position(2000), "far more than allowed was taken");
    }
    assert_eq!(stream.trim(KEY, tail).await.unwrap(), usize::try_from(tail.0).unwrap());
    assert_eq!(stream.append(KEY, EPOCH, tail, &entries(tail, 5000)).await.unwrap(), Appended::All);
    let tail = tail.plus(5000);
    assert_eq!(stream.append(KEY, EPOCH, tail, &entries(tail, 1)).await.unwrap(), Appended::Full);
}

#[tokio::test]
async fn a_batch_with_a_gap_is_refused() {
    let stream = fresh();
    let mut batch = entries(START, 3);
    batch.remove(1);
    assert!(stream.append(KEY, EPOCH, START, &batch).await.is_err());
    assert_eq!(stream.tail(KEY).await.unwrap(), START);
}

#[tokio::test]
async fn a_trim_below_the_first_position_takes_nothing() {
    let stream = fresh();
    grow(&stream, 10).await;
    // As a relay asks that keeps more than there is.
    assert_eq!(stream.trim(KEY, Position(10 - 1024)).await.unwrap(), 0);
    assert_eq!(stream.read_from(KEY, START, 100, NOW).await.unwrap().unwrap().len(), 10);
}

#[tokio::test]
async fn each_shard_has_its_stream_and_one_shard_the_plain_name() {
    let (url, settings) = (shared(), apart());
    let prefix = settings.prefix.clone();
    let many = opened(&url, Settings { shards: 3, ..settings.clone() });
    for shard in (0..3).map(Shard) {
        let key = StreamKey { shard, log: Log::DomainEvents };
        assert_eq!(many.append(key, EPOCH, START, &entries(START, 2)).await.unwrap(), Appended::All);
    }
    let one = opened(&url, Settings { prefix: format!("{prefix}one:"), ..settings });
    grow(&one, 5).await;
    let mut outsider = outsider(&url).await;
    for (name, length) in
        [("domain-events:{0}", 2), ("domain-events:{2}", 2), ("domain-events", 0), ("one:domain-events", 5)]
    {
        let key = format!("{prefix}{name}");
        let found: usize = redis::cmd("XLEN").arg(&key).query_async(&mut outsider).await.unwrap();
        assert_eq!(found, length, "{name}");
    }
}

#[tokio::test]
async fn readers_that_find_no_connection_free_are_late_and_not_stuck() {
    let stream = opened(&shared(), Settings { readers: 1, ..apart() });
    stream.create_group(KEY, "g", START).await.unwrap();
    for round in 1..=5 {
        let asked = Instant::now();
        let readers = (0..4).map(|_| stream.read_from(KEY, Position(round - 1), 5, SOON));
        let group = stream.read_group(KEY, "g", "c", 5, SOON);
        let (read, group, _) = tokio::join!(futures_util::future::join_all(readers), group, grow(&stream, 1));
        assert_eq!(positions(&group.unwrap()), [round]);
        for answer in read {
            assert_eq!(positions(&answer.unwrap().unwrap()), [round]);
        }
        assert!(asked.elapsed() < SOON / 2);
    }
}

#[tokio::test]
async fn an_abandoned_wait_delivers_to_nobody_for_good() {
    let stream = fresh();
    stream.create_group(KEY, "g", START).await.unwrap();
    for round in 1..=20 {
        let left = timeout(Duration::from_millis(5), stream.read_group(KEY, "g", "left", 5, SOON)).await;
        assert!(left.is_err(), "nothing was there to read");
        grow(&stream, 1).await;
        // Given to the one who left or still free: the next reader gets it by claim or by reading.
        let mut got = stream.claim(KEY, "g", "heir", NOW, 5).await.unwrap();
        got.extend(stream.read_group(KEY, "g", "heir", 5, NOW).await.unwrap());
        assert_eq!(positions(&got), [round]);
        stream.ack(KEY, "g", &[Position(round)]).await.unwrap();
    }
}

#[tokio::test]
async fn without_a_server_calls_are_refused_at_once_and_work_when_it_comes() {
    let redis = Redis::absent();
    let stream = opened(&redis.url(), apart());
    for _ in 0..3 {
        let asked = Instant::now();
        let refusal = stream.tail(KEY).await.unwrap_err();
        assert_eq!(refusal.kind, Kind::Unavailable);
        assert!(asked.elapsed() < Duration::from_secs(1));
        let refusal = stream.read_group(KEY, "g", "c", 1, SOON).await.unwrap_err();
        assert_eq!(refusal.kind, Kind::Unavailable);
    }
    redis.again();
    let deadline = Instant::now() + SOON;
    while stream.tail(KEY).await.is_err() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    grow(&stream, 3).await;
    // A restart ends every connection, and the next calls make new ones.
    for _ in 0..3 {
        redis.restart();
        let deadline = Instant::now() + SOON;
        let read = loop {
            match stream.read_from(KEY, START, 1, Duration::from_millis(10)).await {
                Ok(read) => break read,
                Err(error) => assert_eq!(error.kind, Kind::Unavailable),
            }
            assert!(Instant::now() < deadline);
        };
        assert!(read.unwrap().is_empty(), "it kept nothing");
        grow(&stream, 3).await;
    }
}

#[tokio::test]
async fn a_server_that_hangs_costs_a_call_its_deadline_and_no_more() {
    let redis = Redis::start(Keeps::Nothing);
    let settings = Settings { deadline: Duration::from_millis(300), ..apart() };
    let stream = opened(&redis.url(), settings);
    stream.create_group(KEY, "g", START).await.unwrap();
    grow(&stream, 3).await;
    let waiting = stream.read_from(KEY, Position(3), 1, Duration::from_millis(200));
    let hanging = async {
        tokio::task::yield_now().await;
        redis.pause();
        let asked = Instant::now();
        let calls = (0..50).map(|_| stream.tail(KEY));
        for answer in futures_util::future::join_all(calls).await {
            assert_eq!(answer.unwrap_err().kind, Kind::Unavailable);
        }
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    };
    let asked = Instant::now();
    let (waited, ()) = tokio::join!(waiting, hanging);
    assert_eq!(waited.unwrap_err().kind, Kind::Unavailable);
    assert!(asked.elapsed() < Duration::from_secs(3));
    redis.resume();
    let deadline = Instant::now() + SOON;
    while stream.tail(KEY).await.ok() != Some(Position(3)) {
        assert!(Instant::now() < deadline);
    }
    grow(&stream, 1).await;
}

#[tokio::test]
async fn a_password_is_used_and_told_to_nobody() {
    let redis = Redis::guarded("s3cr3t-7Q");
    let stream = opened(&redis.url(), apart());
    grow(&stream, 1).await;
    let wrong = redis.url().replace("s3cr3t-7Q", "wr0ng-9Z");
    let refusal = opened(&wrong, apart()).tail(KEY).await.unwrap_err();
    assert_eq!((refusal.kind, refusal.code), (Kind::Unavailable, "stream_denied"));
    let text = format!("{refusal} {refusal:?}");
    assert!(!text.contains("wr0ng") && !text.contains("127.0.0.1"), "{text}");
    for bad in ["redis://:pa55@host:notaport/0", "http://u:pa55@host", "pa55"] {
        let refusal = RedisStream::open(bad, Settings::default()).err().unwrap();
        assert_eq!(refusal.field.as_deref(), Some("REDIS_URL"));
        assert!(!format!("{refusal:?}").contains("pa55"), "{refusal:?}");
    }
}

#[tokio::test]
async fn an_address_may_ask_for_tls_or_another_protocol() {
    recado::commands::service::install_crypto();
    let redis = Redis::start(Keeps::Nothing);
    let secure = opened(&redis.url().replace("redis://", "rediss://"), apart());
    assert_eq!(secure.tail(KEY).await.unwrap_err().kind, Kind::Unavailable);
    let newer = opened(&format!("{}?protocol=resp3", redis.url()), apart());
    newer.create_group(KEY, "g", START).await.unwrap();
    let all = grow(&newer, 3).await;
    same(&newer.read_group(KEY, "g", "c", 10, SOON).await.unwrap(), &all);
    same(&newer.read_from(KEY, START, 10, SOON).await.unwrap().unwrap(), &all);
}

#[tokio::test]
async fn what_is_not_ours_in_a_stream_is_refused_and_not_skipped() {
    let (url, settings) = (shared(), apart());
    let stream = opened(&url, settings.clone());
    grow(&stream, 2).await;
    let key = format!("{}domain-events", settings.prefix);
    let mut outsider = outsider(&url).await;
    let _id: String = redis::cmd("XADD")
        .arg(&key)
        .arg("3-0")
        .arg("hola")
        .arg("mundo")
        .query_async(&mut outsider)
        .await
        .unwrap();
    let refusal = stream.read_from(KEY, START, 10, NOW).await.unwrap_err();
    assert_eq!((refusal.kind, refusal.code), (Kind::Conflict, "stream_entry_unreadable"));
    let _id: String = redis::cmd("XADD")
        .arg(&key)
        .arg("3-1")
        .arg("hola")
        .arg("mundo")
        .query_async(&mut outsider)
        .await
        .unwrap();
    assert_eq!(stream.lead(KEY, EPOCH).await.unwrap_err().code, "stream_entry_foreign");
    let other = format!("{}session-commands:{{0}}", settings.prefix);
    let () = redis::cmd("SET").arg(&other).arg("x").query_async(&mut outsider).await.unwrap();
    let key = StreamKey { shard: Shard(0), log: Log::SessionCommands };
    assert_eq!(stream.tail(key).await.unwrap_err().code, "stream_key_taken");
}

#[tokio::test]
async fn losing_everything_shows_by_the_tail_and_by_the_groups() {
    let redis = Redis::start(Keeps::Nothing);
    let stream = opened(&redis.url(), apart());
    stream.create_group(KEY, "g", START).await.unwrap();
    assert_eq!(stream.lead(KEY, Epoch(5)).await.unwrap(), Some(START));
    grow_as(&stream, Epoch(5), 10).await;
    redis.flush();
    assert_eq!(stream.lead(KEY, Epoch(5)).await.unwrap(), Some(START));
    let read = stream.read_group(KEY, "g", "c", 1, NOW).await.unwrap_err();
    let claim = stream.claim(KEY, "g", "c", NOW, 1).await.unwrap_err();
    assert_eq!((read.kind, claim.kind), (Kind::NotFound, Kind::NotFound));
    stream.ack(KEY, "g", &[Position(1)]).await.unwrap();
    stream.remove_group(KEY, "g").await.unwrap();
    assert_eq!(stream.trim(KEY, Position(10)).await.unwrap(), 0);
    // A group that was made anew first does not fix where the stream begins.
    stream.create_group(KEY, "g", Position(45)).await.unwrap();
    stream.begin(KEY, Position(40)).await.unwrap();
    grow_as(&stream, Epoch(5), 10).await;
    assert_eq!(positions(&stream.read_group(KEY, "g", "c", 2, NOW).await.unwrap()), [46, 47]);
    assert_eq!(stream.lead(KEY, Epoch(4)).await.unwrap(), None);
    // A reader that waits while it happens is told, or finds nothing, within its wait.
    let waiting = stream.read_group(KEY, "g", "c", 100, Duration::from_millis(300));
    let loss = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        redis.flush();
        grow_as(&stream, Epoch(5), 10).await;
    };
    let (rest, ()) = tokio::join!(waiting, loss);
    assert!(rest.is_ok_and(|rest| positions(&rest) == [48, 49, 50]));
    let gone = stream.read_group(KEY, "g", "c", 100, SOON).await.unwrap_err();
    assert_eq!(gone.kind, Kind::NotFound);
}

async fn grow_as(stream: &RedisStream, epoch: Epoch, count: usize) {
    let tail = stream.tail(KEY).await.unwrap();
    let appended = stream.append(KEY, epoch, tail, &entries(tail, count)).await.unwrap();
    assert_eq!(appended, Appended::All);
}

#[tokio::test]
async fn readers_that_are_gone_are_forgotten_and_live_ones_are_not() {
    let (url, settings) = (shared(), apart());
    let stream = opened(&url, settings.clone());
    stream.create_group(KEY, "g", START).await.unwrap();
    grow(&stream, 3).await;
    for name in ["one", "two", "three"] {
        stream.read_group(KEY, "g", name, 1, NOW).await.unwrap();
    }
    stream.ack(KEY, "g", &[Position(1), Position(2)]).await.unwrap();
    assert!(stream.claim(KEY, "g", "four", Duration::from_secs(60), 10).await.unwrap().is_empty());
    let mut outsider = outsider(&url).await;
    let key = format!("{}domain-events", settings.prefix);
    let names: redis::streams::StreamInfoConsumersReply =
        redis::cmd("XINFO").arg("CONSUMERS").arg(&key).arg("g").query_async(&mut outsider).await.unwrap();
    // All have asked within ten minutes.
    assert_eq!(names.consumers.len(), 3, "{names:?}");
    // Asked by a process with less patience: who holds nothing is gone, who holds something is not.
    let hasty = opened(&url, Settings { forget: Duration::from_millis(20), ..settings.clone() });
    let left: redis::streams::StreamInfoConsumersReply = loop {
        assert!(hasty.claim(KEY, "g", "five", Duration::from_secs(60), 10).await.unwrap().is_empty());
        let left: redis::streams::StreamInfoConsumersReply =
            redis::cmd("XINFO").arg("CONSUMERS").arg(&key).arg("g").query_async(&mut outsider).await.unwrap();
        if left.consumers.len() == 1 {
            break left;
        }
    };
    assert!(left.consumers[0].name.ends_with(":three"), "{left:?}");
    let held = stream.claim(KEY, "g", "four", NOW, 10).await.unwrap();
    assert_eq!(positions(&held), [3], "nothing went with the forgotten");
    assert!(names.consumers.iter().all(|known| known.name.starts_with(&settings.consumer)), "{names:?}");
}

#[tokio::test]
async fn a_dead_letter_is_shown_with_its_reason_and_the_oldest_go() {
    let (url, settings) = (shared(), Settings { refused: 10, ..apart() });
    let stream = opened(&url, settings.clone());
    let entry = &entries(START, 1)[0];
    let error = "x".repeat(5000);
    let burial = Burial { group: "webhooks", entry, attempts: 5, error: &error, at: recado::domain::now() };
    for _ in 0..1000 {
        assert!(stream.copy_dead_letter(Log::DomainEvents, burial).await.unwrap());
    }
    let mut outsider = outsider(&url).await;
    let key = format!("{}domain-events-dlq", settings.prefix);
    let found: redis::streams::StreamRangeReply =
        redis::cmd("XREVRANGE").arg(&key).arg("+").arg("-").query_async(&mut outsider).await.unwrap();
    assert!((10..500).contains(&found.ids.len()), "{}", found.ids.len());
    let get = |name: &str| found.ids[0].get::<String>(name).unwrap();
    assert_eq!(get("eventId"), entry.event.event_id.to_string());
    assert_eq!((get("group"), get("attempts"), get("error").len()), ("webhooks".into(), "5".into(), 2048));
    let event: recado::domain::event::Event = serde_json::from_str(&get("payload")).unwrap();
    assert_eq!(event, *entry.event);
}

#[tokio::test]
async fn hints_reach_every_listener_and_a_lost_connection_ends_the_listening() {
    let redis = Redis::start(Keeps::Nothing);
    let settings = apart();
    let (one, other) = (opened(&redis.url(), settings.clone()), opened(&redis.url(), settings));
    let mut ears = vec![one.listen().await.unwrap(), other.listen().await.unwrap()];
    let all: Vec<Shard> = (0..2500).map(Shard).collect();
    one.tell(&all).await.unwrap();
    for ear in &mut ears {
        let mut heard = Vec::new();
        while heard.len() < all.len() {
            heard.extend(timeout(SOON, ear.next()).await.unwrap().unwrap());
        }
        assert_eq!(heard, all);
    }
    redis.kill();
    for ear in &mut ears {
        assert_eq!(timeout(SOON, ear.next()).await.unwrap().unwrap_err().kind, Kind::Unavailable);
    }
    assert_eq!(one.tell(&all).await.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(one.listen().await.err().unwrap().kind, Kind::Unavailable);
}
