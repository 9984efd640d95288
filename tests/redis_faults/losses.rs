//! What Redis loses is filled again from the tables: nothing is missing, repeated or out of order, nor done twice.

use std::sync::Arc;
use std::time::Duration;

use recado::domain::ids::Position;
use recado::infra::stream::Stream;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::rig::{EVENTS, Rig, SOON};
use crate::servers::redis::{Keeps, Redis};

/// Does something to the server while messages are accepted, so many times.
async fn disturb(rig: &Rig, times: usize, what: impl Fn(&Redis) + Clone + Send + 'static) {
    for _ in 0..times {
        let (redis, what) = (Arc::clone(&rig.redis), what.clone());
        let disturbed = spawn_blocking(move || what(&redis));
        let ((), done) = tokio::join!(rig.send(10), disturbed);
        done.unwrap();
        rig.send(5).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_again() {
    let rig = Rig::new(Redis::start(Keeps::Log), 20).await;
    let sink = rig.shard().await;
    disturb(&rig, 10, Redis::restart).await;
    let caught_up = rig.settled().await;
    let figures = rig.count(&sink).await;
    println!("10 kills, everysec: caught up in {caught_up:?}, {figures:?}");
    figures.assert(3000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_kept_nothing() {
    let rig = Rig::new(Redis::start(Keeps::Nothing), 20).await;
    let sink = rig.shard().await;
    disturb(&rig, 5, Redis::restart).await;
    let caught_up = rig.settled().await;
    let figures = rig.count(&sink).await;
    println!("5 kills, nothing kept: caught up in {caught_up:?}, {figures:?}");
    figures.assert(1500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emptied_while_publishing() {
    let rig = Rig::new(Redis::start(Keeps::Nothing), 20).await;
    let sink = rig.shard().await;
    disturb(&rig, 20, Redis::flush).await;
    let caught_up = rig.settled().await;
    let figures = rig.count(&sink).await;
    println!("20 FLUSHALL: caught up in {caught_up:?}, {figures:?}");
    figures.assert(6000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_its_log_cut() {
    let rig = Rig::new(Redis::start(Keeps::Log), 20).await;
    let sink = rig.shard().await;
    rig.send(100).await;
    rig.settled().await;
    let before = rig.stream.tail(EVENTS).await.unwrap();
    rig.redis.kill();
    let log = rig.redis.log();
    let length = std::fs::metadata(&log).unwrap().len();
    std::fs::File::options().write(true).open(&log).unwrap().set_len(length / 5 * 4).unwrap();
    rig.redis.again();
    // Asked of the server itself, before the relay looks again: the tail went back.
    let mut outsider = crate::rig::outsider(&rig.redis.url()).await;
    let key = format!("{}domain-events", rig.settings.prefix);
    let left: i64 = redis::cmd("XLEN").arg(key).query_async(&mut outsider).await.unwrap();
    assert!(left < before.0, "the cut cost nothing: {left} of {before}");
    rig.send(20).await;
    let caught_up = rig.settled().await;
    let figures = rig.count(&sink).await;
    println!("log of {before} events cut to {left}: caught up in {caught_up:?}, {figures:?}");
    assert!(before >= Position(2000));
    figures.assert(2400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn started_before_it_is_there_and_away_while_everything_goes_on() {
    let rig = Rig::new(Redis::absent(), 20).await;
    let sink = rig.shard().await;
    for round in 1..=3 {
        rig.send(20).await;
        // Nothing is in any stream, and all is handled.
        let asked = Instant::now();
        let all = rig.stored(recado::domain::event::Log::DomainEvents).await.len();
        crate::rig::eventually("handled without a stream", async || {
            sink.effects.lock().unwrap().times.len() == 20 + round * 400
        })
        .await;
        println!("{all} events, all handled without a stream after {:?}", asked.elapsed());
        rig.redis.again();
        rig.settled().await;
        if round < 3 {
            rig.redis.kill();
        }
    }
    let figures = rig.count(&sink).await;
    println!("away: {figures:?}");
    figures.assert(1220);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_for_a_while() {
    let rig = Rig::new(Redis::start(Keeps::Nothing), 20).await;
    let sink = rig.shard().await;
    rig.send(10).await;
    rig.redis.pause();
    // Nobody who sends waits for Redis.
    let asked = Instant::now();
    rig.send(20).await;
    assert!(asked.elapsed() < SOON / 6, "accepting waits for the stream: {:?}", asked.elapsed());
    // Longer than every deadline: calls fail while it hangs, and what they asked for may happen later.
    sleep(rig.settings.deadline * 2).await;
    rig.redis.resume();
    rig.send(10).await;
    let caught_up = rig.settled().await;
    let figures = rig.count(&sink).await;
    println!("hanging: caught up in {caught_up:?}, {figures:?}");
    figures.assert(800);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_that_go_on_after_their_time_leave_no_trace_in_the_stream() {
    let rig = Rig::new(Redis::start(Keeps::Nothing), 20).await;
    let sink = rig.shard().await;
    for _ in 0..5 {
        rig.send(10).await;
        rig.settled().await;
        // The old owner's actors are not told: they have to notice. What its consumer does until then it cannot
        // record, so that the new one does it again: a sink outside tells by the event's id.
        let fence = rig.take().await;
        rig.relay(fence, &rig.node, Duration::from_millis(500)).await;
        rig.consumer(fence, sink.clone()).await;
        rig.send(10).await;
    }
    rig.settled().await;
    let figures = rig.count(&sink).await;
    println!("5 take-overs: {figures:?}");
    assert_eq!((figures.lost, figures.duplicates, figures.order, figures.effects_missing), (0, 0, 0, 0));
}
