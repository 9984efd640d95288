//! Leases and relays while others write.

#![allow(clippy::disallowed_methods, reason = "a test has no actor that its tasks could belong to")]

use std::sync::Arc;
use std::time::Duration;

use recado::domain::command::CommandType;
use recado::domain::event::Log;
use recado::domain::ids::{Epoch, Shard};
use recado::domain::message::MessageState;
use recado::domain::write::{Outcome, Write};
use recado::infra::store::Store;
use tokio::task::JoinSet;

use super::{beside, run, store, world};
use crate::invariants::Open;
use crate::store::world::{code, later};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_taken_while_a_fenced_write_is_in_flight_comes_after_it() {
    let (world, url) = world().await;
    let session = world.session().await;
    let message = world.accepted(session, 1).await.remove(0);
    assert_eq!(world.take(session, 1).await.len(), 1);
    let mut other = beside(&url).await;
    run(&mut other, &format!("begin; select * from sessions where id = '{session}' for update")).await;
    // It has a share of the lease, and waits for the session.
    let write = world.progress(session, &message.wa_id, &[MessageState::Sent]);
    let in_flight = {
        let store = Arc::clone(&world.store);
        tokio::spawn(async move { store.commit([write].into()).await.unwrap().remove(0) })
    };
    until_some_wait(&url, 1).await;
    let taking = {
        let mut take = world.take_lease(Shard(0), "node-2");
        take.at = later(120_000);
        let node = store(&url).await;
        tokio::spawn(async move { node.commit([Write::TakeLease(take)].into()).await.unwrap().remove(0) })
    };
    // To keep the lease is not held up.
    let mut keep = world.take_lease(Shard(0), "node-1");
    keep.held = Some(world.fence.epoch);
    let third = store(&url).await;
    let kept =
        tokio::time::timeout(Duration::from_secs(2), third.commit([Write::TakeLease(keep)].into())).await;
    run(&mut other, "rollback").await;
    assert!(matches!(in_flight.await.unwrap(), Ok(Outcome::Done)), "it had the right when it began");
    assert!(kept.is_ok());
    let Ok(Outcome::Lease(won)) = taking.await.unwrap() else { panic!() };
    assert_eq!(won, Some(Epoch(world.fence.epoch.0 + 1)));
    assert_eq!(world.message_view(message.id).await.state, MessageState::Sent);
    // From now on nothing of the old owner is let in.
    let late = world.progress(session, &message.wa_id, &[MessageState::Read]);
    assert_eq!(code(&world.write(late).await), "fenced");
    assert_eq!(world.message_view(message.id).await.state, MessageState::Sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_lost_a_shard_waits_for_none_of_its_owners_numbering() {
    let (world, url) = world().await;
    let session = world.session().await;
    let lost = world.fence;
    let mut take = world.take_lease(lost.shard, "node-2");
    take.at = later(120_000);
    world.write(Write::TakeLease(take)).await.unwrap();
    let mut owner = beside(&url).await;
    run(&mut owner, "begin; select * from relays for update").await;
    // A node that still believes it may number: what it accepts, holding the session, is accepted all the same.
    let accept = world.command(session, CommandType::Start);
    let batch = [Write::Accept(accept), Write::Stamp(lost, 100)];
    let mut answers = tokio::time::timeout(Duration::from_secs(2), world.store.commit(batch.into()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(code(&answers.pop().unwrap()), "fenced");
    assert!(matches!(answers.pop().unwrap(), Ok(Outcome::Accepted { replayed: false, .. })));
    run(&mut owner, "rollback").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_given_back_while_a_fenced_write_is_in_flight_is_held_until_its_end() {
    let (world, url) = world().await;
    let session = world.session().await;
    let message = world.accepted(session, 1).await.remove(0);
    assert_eq!(world.take(session, 1).await.len(), 1);
    let mut other = beside(&url).await;
    run(&mut other, &format!("begin; select * from sessions where id = '{session}' for update")).await;
    let write = world.progress(session, &message.wa_id, &[MessageState::Sent]);
    let in_flight = {
        let store = Arc::clone(&world.store);
        tokio::spawn(async move { store.commit([write].into()).await.unwrap().remove(0) })
    };
    until_some_wait(&url, 1).await;
    let giving_back = {
        let (node, fence) = (store(&url).await, world.fence);
        tokio::spawn(async move { node.commit([Write::ReleaseLease(fence)].into()).await.unwrap().remove(0) })
    };
    until_some_wait(&url, 2).await;
    let held = "select count(*) from leases where shard = 0 and node is not null";
    assert_eq!(super::count(&mut beside(&url).await, held).await, 1);
    run(&mut other, "rollback").await;
    assert!(matches!(in_flight.await.unwrap(), Ok(Outcome::Done)), "it had the right when it began");
    assert!(matches!(giving_back.await.unwrap(), Ok(Outcome::Done)));
    assert_eq!(world.message_view(message.id).await.state, MessageState::Sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_write_that_meets_a_take_over_changes_nothing() {
    let (world, url) = world().await;
    let session = world.session().await;
    world.settle().await;
    let mut other = beside(&url).await;
    run(&mut other, "begin; select * from leases where shard = 0 for update").await;
    run(&mut other, "update leases set node = 'node-2', epoch = epoch + 1 where shard = 0").await;
    run(&mut other, "update relays set epoch = epoch + 1 where shard = 0").await;
    let writes = [
        world.inbound(session, vec![world.received(Some("15550100199"), None, "hola")]),
        Write::Stamp(world.fence, 100),
        Write::Accept(world.message(session, "hola")),
    ];
    let meeting = {
        let store = Arc::clone(&world.store);
        tokio::spawn(async move { store.commit(writes.into()).await.unwrap() })
    };
    until_some_wait(&url, 1).await;
    run(&mut other, "commit").await;
    let answers = meeting.await.unwrap();
    assert_eq!(answers.iter().map(code).collect::<Vec<_>>(), ["fenced", "fenced", ""]);
    let head = world.store.head(Shard(0), Log::DomainEvents).await.unwrap();
    assert_eq!((head.head.0, head.unstamped), (1, 1), "the accepted message waits for the new owner's relay");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_relays_stamp_at_once_and_the_stale_one_stamps_nothing() {
    let (mut world, url) = world().await;
    let stale = world.fence;
    let fresh = world.lease(Shard(0), "node-1").await.unwrap();
    assert_eq!(fresh.epoch.0, stale.epoch.0 + 1);
    let session = world.session().await;
    let mut relays = JoinSet::new();
    for n in 0..8 {
        let (node, fence) = (store(&url).await, if n % 2 == 0 { stale } else { fresh });
        relays.spawn(async move {
            let mut numbered = 0;
            for _ in 0..50 {
                match node.commit([Write::Stamp(fence, 7)].into()).await.unwrap().remove(0) {
                    Ok(Outcome::Stamped { stamped, .. }) => numbered += stamped,
                    answer => assert_eq!(code(&answer), "fenced"),
                }
            }
            (fence, numbered)
        });
    }
    for n in 0..100 {
        let mut writes = vec![Write::Accept(world.message(session, "hola"))];
        if n % 3 == 0 {
            writes.push(Write::Stamp(fresh, 100));
        }
        world.store.commit(writes.into()).await.unwrap();
    }
    for (fence, numbered) in relays.join_all().await {
        assert!(fence == fresh || numbered == 0, "a stale relay numbered {numbered} rows");
    }
    world.fence = fresh;
    world.check(Open::Allowed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_asked_for_by_twenty_nodes_at_once_has_one_holder() {
    let (world, url) = world().await;
    let mut asked = JoinSet::new();
    for n in 0..20 {
        let (node, take) = (store(&url).await, world.take_lease(Shard(3), &format!("node-{n}")));
        asked.spawn(
            async move { node.commit([Write::TakeLease(take)].into()).await.unwrap().remove(0).unwrap() },
        );
    }
    let answers = asked.join_all().await;
    let won: Vec<_> = answers.iter().filter(|answer| matches!(answer, Outcome::Lease(Some(_)))).collect();
    assert!(matches!(won.as_slice(), [Outcome::Lease(Some(Epoch(1)))]), "{answers:?}");
}

/// Until so many connections of the store wait for a lock.
async fn until_some_wait(url: &str, count: i64) {
    let mut conn = beside(url).await;
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    let begun = tokio::time::Instant::now();
    while super::count(&mut conn, waiting).await < count {
        assert!(begun.elapsed() < Duration::from_secs(4), "not so many wait");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
