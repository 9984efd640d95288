//! Appending and reading.

use tokio::time::Instant;

use recado::domain::event::Log;
use recado::domain::ids::{Epoch, Position, Shard};
use recado::infra::stream::{Appended, StreamKey};

use super::{Duration, EPOCH, Fixture, KEY, NOW, SOON, START, entries, grow, positions, same};

pub async fn an_append_needs_the_true_tail(open: impl AsyncFn(usize) -> Fixture) {
    let fixture = open(1000).await;
    let stream = &*fixture.stream;
    assert_eq!(stream.tail(KEY).await.unwrap(), START);
    let first = grow(stream, 5).await;
    for wrong in [Position(0), Position(4), Position(6), Position(1000)] {
        let appended = stream.append(KEY, EPOCH, wrong, &entries(wrong, 3)).await.unwrap();
        assert_eq!(appended, Appended::Tail(Position(5)), "expected tail {wrong}");
    }
    // The same batch again, as after a lost answer.
    assert_eq!(stream.append(KEY, EPOCH, START, &first).await.unwrap(), Appended::Tail(Position(5)));
    assert_eq!(stream.tail(KEY).await.unwrap(), Position(5));
    let all = stream.read_from(KEY, START, 100, NOW).await.unwrap().unwrap();
    same(&all, &first);
}

pub async fn an_append_is_all_or_nothing(open: impl AsyncFn(usize) -> Fixture) {
    let fixture = open(10).await;
    let stream = &*fixture.stream;
    stream.create_group(KEY, "holds", START).await.unwrap();
    grow(stream, 8).await;
    assert_eq!(
        stream.append(KEY, EPOCH, Position(8), &entries(Position(8), 3)).await.unwrap(),
        Appended::Full
    );
    assert_eq!(stream.tail(KEY).await.unwrap(), Position(8));
    assert_eq!(stream.read_from(KEY, START, 100, NOW).await.unwrap().unwrap().len(), 8);
    assert_eq!(stream.append(KEY, EPOCH, Position(8), &[]).await.unwrap(), Appended::All);
}

pub async fn of_many_appends_at_one_tail_one_wins(open: impl AsyncFn(usize) -> Fixture) {
    let fixture = open(1000).await;
    for round in 0..20_i64 {
        let tail = Position(round * 3);
        let batches: Vec<_> = (0..8).map(|_| entries(tail, 3)).collect();
        let all = batches.iter().map(|batch| fixture.stream.append(KEY, EPOCH, tail, batch));
        let answers = futures_util::future::join_all(all).await;
        let won = answers.iter().filter(|answer| matches!(answer, Ok(Appended::All))).count();
        assert_eq!(won, 1);
        let lost = Appended::Tail(Position(tail.0 + 3));
        assert_eq!(answers.iter().filter(|answer| matches!(answer, Ok(other) if *other == lost)).count(), 7);
    }
    let all = fixture.stream.read_from(KEY, START, 1000, NOW).await.unwrap().unwrap();
    assert_eq!(positions(&all), (1..=60).collect::<Vec<_>>());
}

pub async fn an_earlier_owner_adds_nothing_once_a_later_one_has_been_there(
    open: impl AsyncFn(usize) -> Fixture,
) {
    let fixture = open(1000).await;
    let stream = &*fixture.stream;
    let (old, new, newest) = (Epoch(7), Epoch(8), Epoch(11));
    assert_eq!(stream.lead(KEY, old).await.unwrap(), Some(START));
    assert_eq!(stream.append(KEY, old, START, &entries(START, 5)).await.unwrap(), Appended::All);
    // Taken over, and nothing appended yet: the old owner knows the true tail and is refused all the same.
    assert_eq!(stream.lead(KEY, new).await.unwrap(), Some(Position(5)));
    let late = entries(Position(5), 3);
    assert_eq!(stream.append(KEY, old, Position(5), &late).await.unwrap(), Appended::Superseded);
    assert_eq!(stream.append(KEY, old, START, &entries(START, 3)).await.unwrap(), Appended::Superseded);
    assert_eq!(stream.lead(KEY, old).await.unwrap(), None);
    assert_eq!(stream.tail(KEY).await.unwrap(), Position(5));
    assert_eq!(stream.append(KEY, new, Position(5), &late).await.unwrap(), Appended::All);
    // An append leads as well; leading again in the same epoch is as good as the first time.
    let more = entries(Position(8), 1);
    assert_eq!(stream.append(KEY, newest, Position(8), &more).await.unwrap(), Appended::All);
    assert_eq!(stream.lead(KEY, new).await.unwrap(), None);
    assert_eq!(stream.lead(KEY, newest).await.unwrap(), Some(Position(9)));
}

pub async fn an_empty_stream_starts_where_it_is_told_and_only_then(open: impl AsyncFn(usize) -> Fixture) {
    let fixture = open(1000).await;
    let stream = &*fixture.stream;
    stream.begin(KEY, Position(41)).await.unwrap();
    assert_eq!(stream.tail(KEY).await.unwrap(), Position(41));
    stream.begin(KEY, Position(99)).await.unwrap();
    assert_eq!(stream.tail(KEY).await.unwrap(), Position(41));
    grow(stream, 1).await;
    stream.begin(KEY, Position(7)).await.unwrap();
    assert_eq!(stream.tail(KEY).await.unwrap(), Position(42));
    stream.trim(KEY, Position(42)).await.unwrap();
    stream.begin(KEY, Position(7)).await.unwrap();
    assert_eq!(stream.tail(KEY).await.unwrap(), Position(42), "an emptied stream keeps its tail");
    grow(stream, 1).await;
    let rest = stream.read_from(KEY, Position(42), 10, NOW).await.unwrap().unwrap();
    assert_eq!(positions(&rest), [43]);
}

pub async fn a_reader_without_a_group_sees_everything_or_is_told_that_it_cannot(
    open: impl AsyncFn(usize) -> Fixture,
) {
    let fixture = open(1000).await;
    let stream = &*fixture.stream;
    let all = grow(stream, 50).await;
    let page = stream.read_from(KEY, Position(10), 5, NOW).await.unwrap().unwrap();
    same(&page, &all[10..15]);
    assert!(stream.read_from(KEY, Position(50), 5, NOW).await.unwrap().unwrap().is_empty());
    assert_eq!(stream.trim(KEY, Position(20)).await.unwrap(), 20);
    for gone in [0, 10, 19] {
        assert!(stream.read_from(KEY, Position(gone), 5, NOW).await.unwrap().is_none(), "after {gone}");
    }
    let rest = stream.read_from(KEY, Position(20), 100, NOW).await.unwrap().unwrap();
    same(&rest, &all[20..]);
}

pub async fn a_wait_ends_at_its_deadline_and_at_the_first_entry(open: impl AsyncFn(usize) -> Fixture) {
    let fixture = open(1000).await;
    let stream = &*fixture.stream;
    let wait = Duration::from_millis(150);
    let asked = Instant::now();
    assert!(stream.read_from(KEY, START, 5, wait).await.unwrap().unwrap().is_empty());
    assert!(asked.elapsed() >= wait && asked.elapsed() < SOON);
    // Many readers at once, over and over: an append between look and wait would be missed by one of them.
    for round in 0..50 {
        let after = Position(round);
        let readers = (0..4).map(|_| stream.read_from(KEY, after, 5, SOON));
        let asked = Instant::now();
        let (read, _) = tokio::join!(futures_util::future::join_all(readers), grow(stream, 1));
        assert!(asked.elapsed() < SOON / 2, "a reader waited on");
        for answer in read {
            assert_eq!(positions(&answer.unwrap().unwrap()), [round + 1]);
        }
    }
}

pub async fn logs_and_shards_are_apart(open: impl AsyncFn(usize) -> Fixture) {
    let fixture = open(1000).await;
    let stream = &*fixture.stream;
    grow(stream, 3).await;
    for other in [
        StreamKey { shard: Shard(1), log: Log::DomainEvents },
        StreamKey { shard: Shard(0), log: Log::SessionCommands },
    ] {
        assert_eq!(stream.tail(other).await.unwrap(), START);
        assert_eq!(stream.append(other, EPOCH, START, &entries(START, 7)).await.unwrap(), Appended::All);
        assert_eq!(stream.tail(other).await.unwrap(), Position(7));
    }
    assert_eq!(stream.tail(KEY).await.unwrap(), Position(3));
}

pub async fn a_log_without_groups_is_trimmed_as_told(open: impl AsyncFn(usize) -> Fixture) {
    let fixture = open(1000).await;
    let stream = &*fixture.stream;
    grow(stream, 10).await;
    assert_eq!(stream.trim(KEY, Position(0)).await.unwrap(), 0);
    assert_eq!(stream.trim(KEY, Position(4)).await.unwrap(), 4);
    assert_eq!(stream.trim(KEY, Position(4)).await.unwrap(), 0);
    assert_eq!(stream.trim(KEY, Position(1000)).await.unwrap(), 6);
    assert_eq!(stream.tail(KEY).await.unwrap(), Position(10));
}
