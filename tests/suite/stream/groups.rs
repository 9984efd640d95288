//! Groups, their consumers, and what they hold back.

use std::collections::BTreeSet;
use tokio::time::Instant;

use recado::domain::Kind;
use recado::domain::ids::Position;
use recado::infra::stream::Appended;

use super::{Duration, EPOCH, Fixture, KEY, NOW, SOON, START, entries, grow, positions, same};

pub async fn a_group_hands_out_each_entry_once(open: impl AsyncFn(usize) -> Fixture) {
    let fixture = open(1000).await;
    let stream = &*fixture.stream;
    stream.create_group(KEY, "g", START).await.unwrap();
    let all = grow(stream, 25).await;
    let mut got = Vec::new();
    for size in [10, 10, 5] {
        let some = stream.read_group(KEY, "g", "c", 10, NOW).await.unwrap();
        assert_eq!(some.len(), size);
        got.extend(some);
    }
    same(&got, &all);
    assert!(stream.read_group(KEY, "g", "c", 10, NOW).await.unwrap().is_empty());
    assert!(stream.read_group(KEY, "g", "other", 10, NOW).await.unwrap().is_empty());
}

pub async fn consumers_share_a_group(open: impl AsyncFn(usize) -> Fixture) {
    let fixture = open(5000).await;
    let stream = &*fixture.stream;
    stream.create_group(KEY, "g", START).await.unwrap();
    let drain = async |name: &str| {
        let mut got: Vec<i64> = Vec::new();
        while !got.contains(&i64::MAX) {
            let some = stream.read_group(KEY, "g", name, 7, Duration::from_millis(300)).await.unwrap();
            if some.is_empty() {
                return got;
            }
            let mine: Vec<Position> = some.iter().map(|entry| entry.position).collect();
            got.extend(mine.iter().map(|position| position.0));
            stream.ack(KEY, "g", &mine).await.unwrap();
            tokio::task::yield_now().await;
        }
        got
    };
    let produce = async {
        for _ in 0..50 {
            grow(stream, 20).await;
            tokio::task::yield_now().await;
        }
    };
    let (one, two, ()) = tokio::join!(drain("one"), drain("two"), produce);
    assert!(!one.is_empty() && !two.is_empty(), "{} and {}", one.len(), two.len());
    assert_eq!(one.len() + two.len(), 1000, "handed out twice or never");
    let all: BTreeSet<i64> = one.into_iter().chain(two).collect();
    assert_eq!(all, (1..=1000).collect());
}

pub async fn what_is_held_too_long_can_be_claimed_by_another(open: impl AsyncFn(usize) -> Fixture) {
    let fixture = open(1000).await;
    let stream = &*fixture.stream;
    stream.create_group(KEY, "g", START).await.unwrap();
    let all = grow(stream, 10).await;
    stream.read_group(KEY, "g", "dead", 6, NOW).await.unwrap();
    stream.ack(KEY, "g", &[Position(2)]).await.unwrap();
    let long = Duration::from_secs(3600);
    assert!(stream.claim(KEY, "g", "heir", long, 100).await.unwrap().is_empty(), "not held long enough");
    let claimed = stream.claim(KEY, "g", "heir", NOW, 3).await.unwrap();
    same(&claimed, &[all[0].clone(), all[2].clone(), all[3].clone()]);
    let claimed = stream.claim(KEY, "g", "heir", NOW, 100).await.unwrap();
    assert_eq!(positions(&claimed), [5, 6], "what it holds already is not claimed again");
    assert!(stream.claim(KEY, "g", "third", long, 100).await.unwrap().is_empty(), "a claim holds anew");
    let mut own = Vec::new();
    while own.is_empty() {
        own = stream.claim(KEY, "g", "heir", Duration::from_millis(1), 100).await.unwrap();
    }
    assert_eq!(own[0].position, Position(1), "what it has held for a while comes again");
    let new = stream.read_group(KEY, "g", "heir", 100, NOW).await.unwrap();
    assert_eq!(positions(&new), [7, 8, 9, 10]);
}

pub async fn what_is_acknowledged_never_comes_back(open: impl AsyncFn(usize) -> Fixture) {
    let fixture = open(1000).await;
    let stream = &*fixture.stream;
    stream.create_group(KEY, "g", START).await.unwrap();
    grow(stream, 5).await;
    stream.read_group(KEY, "g", "c", 5, NOW).await.unwrap();
    let all: Vec<Position> = (1..=5).map(Position).collect();
    stream.ack(KEY, "g", &all).await.unwrap();
    stream.ack(KEY, "g", &all).await.unwrap();
    assert!(stream.claim(KEY, "g", "heir", NOW, 100).await.unwrap().is_empty());
    assert!(stream.read_group(KEY, "g", "c", 100, NOW).await.unwrap().is_empty());
    assert_eq!(stream.trim(KEY, Position(5)).await.unwrap(), 5);
}

pub async fn a_group_starts_where_it_is_told_and_only_once(open: impl AsyncFn(usize) -> Fixture) {
    let fixture = open(1000).await;
    let stream = &*fixture.stream;
    // As after a loss: the stream starts anew, and the group at its stored cursor, before it is refilled.
    stream.begin(KEY, Position(30)).await.unwrap();
    stream.create_group(KEY, "g", Position(35)).await.unwrap();
    grow(stream, 20).await;
    stream.create_group(KEY, "g", Position(30)).await.unwrap();
    let some = stream.read_group(KEY, "g", "c", 3, NOW).await.unwrap();
    assert_eq!(positions(&some), [36, 37, 38]);
    stream.create_group(KEY, "g", Position(30)).await.unwrap();
    let some = stream.read_group(KEY, "g", "c", 1, NOW).await.unwrap();
    assert_eq!(positions(&some), [39]);
    stream.remove_group(KEY, "g").await.unwrap();
    stream.create_group(KEY, "g", Position(48)).await.unwrap();
    let some = stream.read_group(KEY, "g", "c", 100, NOW).await.unwrap();
    assert_eq!(positions(&some), [49, 50]);
}

pub async fn an_unknown_group_is_not_found(open: impl AsyncFn(usize) -> Fixture) {
    let fixture = open(1000).await;
    let stream = &*fixture.stream;
    grow(stream, 1).await;
    let read = stream.read_group(KEY, "none", "c", 1, NOW).await.unwrap_err();
    let claim = stream.claim(KEY, "none", "c", NOW, 1).await.unwrap_err();
    assert_eq!((read.kind, claim.kind), (Kind::NotFound, Kind::NotFound));
    stream.remove_group(KEY, "none").await.unwrap();
}

pub async fn groups_do_not_see_each_other(open: impl AsyncFn(usize) -> Fixture) {
    let fixture = open(1000).await;
    let stream = &*fixture.stream;
    let all = grow(stream, 4).await;
    for group in ["a", "b"] {
        stream.create_group(KEY, group, START).await.unwrap();
        let got = stream.read_group(KEY, group, "c", 100, NOW).await.unwrap();
        same(&got, &all);
        stream.ack(KEY, "a", &[Position(1)]).await.unwrap();
    }
    let claimed = stream.claim(KEY, "b", "heir", NOW, 100).await.unwrap();
    same(&claimed, &all);
}

#[expect(clippy::cognitive_complexity, reason = "one story, told in order: each assertion counts")]
pub async fn a_trim_never_takes_what_a_group_10_000_behind_still_needs(open: impl AsyncFn(usize) -> Fixture) {
    let fixture = open(20_000).await;
    let stream = &*fixture.stream;
    for group in ["fast", "slow", "holding"] {
        stream.create_group(KEY, group, START).await.unwrap();
    }
    for _ in 0..10 {
        grow(stream, 1000).await;
        let some = stream.read_group(KEY, "fast", "c", 1000, NOW).await.unwrap();
        let mine: Vec<Position> = some.iter().map(|entry| entry.position).collect();
        stream.ack(KEY, "fast", &mine).await.unwrap();
        assert_eq!(stream.trim(KEY, Position(i64::MAX)).await.unwrap(), 0);
    }
    let mut got = 0;
    loop {
        let some = stream.read_group(KEY, "slow", "c", 700, NOW).await.unwrap();
        if some.is_empty() {
            break;
        }
        let mine: Vec<Position> = some.iter().map(|entry| entry.position).collect();
        assert_eq!(mine.first(), Some(&Position(got + 1)));
        got += i64::try_from(mine.len()).unwrap();
        stream.ack(KEY, "slow", &mine).await.unwrap();
    }
    assert_eq!(got, 10_000, "lost to the slow group");
    // One entry that is handed out and not acknowledged holds back as well.
    let held = stream.read_group(KEY, "holding", "c", 100, NOW).await.unwrap();
    let others: Vec<Position> = held.iter().map(|entry| entry.position).filter(|at| at.0 != 42).collect();
    stream.ack(KEY, "holding", &others).await.unwrap();
    assert_eq!(stream.trim(KEY, Position(i64::MAX)).await.unwrap(), 41);
    let claimed = stream.claim(KEY, "holding", "heir", NOW, 10).await.unwrap();
    assert_eq!(positions(&claimed), [42]);
    stream.ack(KEY, "holding", &[Position(42)]).await.unwrap();
    assert_eq!(stream.trim(KEY, Position(i64::MAX)).await.unwrap(), 59);
    // A group that is removed holds nothing back.
    stream.remove_group(KEY, "holding").await.unwrap();
    assert_eq!(stream.trim(KEY, Position(i64::MAX)).await.unwrap(), 9900);
}

pub async fn a_full_log_refuses_and_takes_more_when_its_group_has_caught_up(
    open: impl AsyncFn(usize) -> Fixture,
) {
    let fixture = open(100).await;
    let stream = &*fixture.stream;
    stream.create_group(KEY, "g", START).await.unwrap();
    grow(stream, 100).await;
    let more = entries(Position(100), 10);
    assert_eq!(stream.append(KEY, EPOCH, Position(100), &more).await.unwrap(), Appended::Full);
    let some = stream.read_group(KEY, "g", "c", 50, NOW).await.unwrap();
    let mine: Vec<Position> = some.iter().map(|entry| entry.position).collect();
    stream.ack(KEY, "g", &mine).await.unwrap();
    assert_eq!(stream.trim(KEY, Position(100)).await.unwrap(), 50);
    assert_eq!(stream.append(KEY, EPOCH, Position(100), &more).await.unwrap(), Appended::All);
    assert_eq!(stream.tail(KEY).await.unwrap(), Position(110));
}

pub async fn a_group_waits_for_its_first_entry(open: impl AsyncFn(usize) -> Fixture) {
    let fixture = open(1000).await;
    let stream = &*fixture.stream;
    stream.create_group(KEY, "g", START).await.unwrap();
    let wait = Duration::from_millis(150);
    let asked = Instant::now();
    assert!(stream.read_group(KEY, "g", "c", 1, wait).await.unwrap().is_empty());
    assert!(asked.elapsed() >= wait && asked.elapsed() < SOON);
    for round in 1..=50 {
        let asked = Instant::now();
        let (one, two, _) = tokio::join!(
            stream.read_group(KEY, "g", "one", 1, wait),
            stream.read_group(KEY, "g", "two", 1, wait),
            grow(stream, 1),
        );
        let mut got = positions(&one.unwrap());
        got.extend(positions(&two.unwrap()));
        assert_eq!(got, [round], "one of the two gets it, the other nothing");
        assert!(asked.elapsed() < SOON);
    }
}
