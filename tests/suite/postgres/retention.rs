//! Partitions: made ahead, dropped when old and needed by nobody.

use std::sync::Arc;
use std::time::Duration;

use recado::domain::event::Log;
use recado::domain::ids::{MessageId, Position};
use recado::domain::message::MessageState;
use recado::domain::time::now;
use recado::domain::write::{Handled, Write};
use recado::infra::store::postgres::{PostgresStore, Settings};

use super::{beside, count, run};
use crate::invariants::Open;
use crate::store::world::{Fixture, World, later};

const SPAN: i64 = 60_000;

/// A store whose partitions span a minute, and which keeps what is younger than ten.
async fn short() -> (World, String) {
    let url = crate::SERVER.create_database(None).await;
    let settings = Settings {
        partition: Duration::from_millis(60_000),
        keep_events: Some(Duration::from_secs(600)),
        keep_messages: Some(Duration::from_secs(600)),
        ..super::small()
    };
    let store = Arc::new(PostgresStore::open(&url, settings).await.unwrap());
    (World::new(Fixture { store, keep: Box::new(()) }).await, url)
}

async fn partitions(url: &str, parent: &str) -> i64 {
    let sql = format!("select count(*) from partitions where parent = '{parent}'");
    count(&mut beside(url).await, &sql).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_events_go_a_partition_at_a_time_and_never_one_that_a_group_needs() {
    let (world, url) = short().await;
    let session = world.session().await;
    let sent = world.accepted(session, 5).await;
    world.settle().await;
    let group = |cursor: i64, log: Log| {
        let group = "webhooks".to_owned();
        Write::Handled(Handled { fence: world.fence, group, log, cursor: Position(cursor), above: vec![] })
    };
    world.done(group(3, Log::DomainEvents)).await;
    let far = later(20 * SPAN);
    for _ in 0..40 {
        world.store.upkeep(far).await.unwrap();
    }
    let head = world.store.head(world.fence.shard, Log::DomainEvents).await.unwrap();
    assert_eq!((head.floor.0, head.head.0), (0, 6), "the group has not handled all of it");

    world.done(group(6, Log::DomainEvents)).await;
    while world.store.upkeep(far).await.unwrap() > 0 {}
    let head = world.store.head(world.fence.shard, Log::DomainEvents).await.unwrap();
    assert_eq!((head.floor.0, head.head.0), (6, 6), "all of it was old");
    // What follows goes on where the log was.
    world.accept(&world.message(session, "hola")).await.unwrap();
    world.settle().await;
    let entries = world.store.log_after(world.fence.shard, Log::DomainEvents, Position(6), 10).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.position.0).collect::<Vec<_>>(), [7]);
    // The messages that still wait to be sent are there, however old.
    assert_eq!(world.message_view(sent[0].id).await.state, MessageState::Queued);
    assert!(partitions(&url, "session_messages").await > 3, "and so is their partition");
    world.check(Open::Allowed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_position_is_not_dropped() {
    let (world, _url) = short().await;
    let session = world.session().await;
    world.accepted(session, 3).await;
    let far = later(40 * SPAN);
    while world.store.upkeep(far).await.unwrap() > 0 {}
    assert_eq!(world.store.head(world.fence.shard, Log::SessionCommands).await.unwrap().unstamped, 3);
    world.check(Open::Allowed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_messages_go_with_their_names() {
    let (world, url) = short().await;
    let session = world.session().await;
    let message = world.received(Some("15550100199"), None, "hola");
    world.done(world.inbound(session, vec![message])).await;
    let mut conn = beside(&url).await;
    assert_eq!(count(&mut conn, "select count(*) from session_message_ids").await, 1);
    let far = later(40 * SPAN);
    while world.store.upkeep(far).await.unwrap() > 0 {}
    assert_eq!(count(&mut conn, "select count(*) from session_message_ids").await, 0);
    assert_eq!(count(&mut conn, "select count(*) from session_messages").await, 0);
    // And there is room for what comes.
    world.accept(&world.message(session, "hola")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_known_again_when_it_lies_in_another_partition() {
    let (world, url) = short().await;
    let session = world.session().await;
    let message = world.received(Some("15550100199"), None, "hola");
    world.done(world.inbound(session, vec![message.clone()])).await;
    let mut conn = beside(&url).await;
    // As if it had come long ago: in the partition of a time before.
    let old = uuid::Uuid::from_u128(MessageId::new().0.as_u128() % (1 << 80));
    run(&mut conn, &format!("update session_messages set id = '{old}'")).await;
    run(&mut conn, &format!("update session_message_ids set message_id = '{old}'")).await;
    assert_eq!(count(&mut conn, "select count(*) from session_messages_default").await, 1);
    world.done(world.inbound(session, vec![message])).await;
    assert_eq!(world.chat(session, "15550100199").await.len(), 1);
    assert_eq!(world.story(session).await, ["session.created", "message.received"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_time_without_a_partition_are_kept_and_found() {
    let (world, url) = short().await;
    let session = world.session().await;
    let mut conn = beside(&url).await;
    // A node whose upkeep has not run for long.
    run(&mut conn, &format!("update relays set stamped_at = {}", now().0 + 500 * SPAN)).await;
    world.accepted(session, 3).await;
    world.settle().await;
    assert!(count(&mut conn, "select count(*) from events_default").await > 0);
    world.store.upkeep(later(500 * SPAN)).await.unwrap();
    world.check(Open::Allowed).await;
}
