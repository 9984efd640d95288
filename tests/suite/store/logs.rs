//! The logs as they are read.

use recado::domain::event::Log;
use recado::domain::ids::{Position, Shard};
use recado::domain::view::{EventFilter, LogHead};
use recado::domain::write::Write;

use super::world::World;
use crate::invariants::Open;

pub async fn positions_are_gapless_per_shard_and_log(world: World) {
    let one = world.session().await;
    let two = {
        let mut create = world.create();
        create.shard = Shard(1);
        world.write(Write::CreateSession(create.clone())).await.unwrap();
        create.session
    };
    let other = world.lease(Shard(1), "node-1").await.unwrap();
    for _ in 0..10 {
        world.accepted(one, 3).await;
        world.accepted(two, 2).await;
        world.stamp(4).await;
        world.write(Write::Stamp(other, 3)).await.unwrap();
    }
    while !matches!(
        world.write(Write::Stamp(other, 100)).await.unwrap(),
        recado::domain::write::Outcome::Stamped { stamped: 0, .. }
    ) {}
    world.settle().await;
    let head = async |shard, log| world.store.head(Shard(shard), log).await.unwrap().head.0;
    assert_eq!((head(0, Log::DomainEvents).await, head(0, Log::SessionCommands).await), (31, 30));
    assert_eq!((head(1, Log::DomainEvents).await, head(1, Log::SessionCommands).await), (21, 20));
    world.check(Open::Allowed).await;
}

pub async fn nothing_is_numbered_before_what_has_waited_for_longer(world: World) {
    let session = world.session().await;
    for round in 0..4 {
        world.accepted(session, 5).await;
        // Two stamps for one shard: the relay's own, and the one that its ledger adds.
        let mut batch = vec![Write::Stamp(world.fence, 3)];
        batch.push(Write::Accept(world.message(session, "after those that wait")));
        batch.push(Write::Stamp(world.fence, 3 + round));
        for answer in world.store.commit(batch.into()).await.unwrap() {
            answer.unwrap();
        }
    }
    for log in Log::ALL {
        let seqs: Vec<_> = world.events(session, log).await.iter().map(|event| event.seq).collect();
        let all = i64::try_from(seqs.len()).unwrap();
        assert!(all >= 24, "{seqs:?}");
        assert_eq!(seqs, (1..=all).collect::<Vec<_>>());
    }
    world.check(Open::Allowed).await;
}

pub async fn events_are_invisible_until_they_are_numbered(world: World) {
    let session = world.session().await;
    world.accepted(session, 3).await;
    let (shard, log) = (world.fence.shard, Log::DomainEvents);
    let expected = LogHead { head: Position(0), unstamped: 4, floor: Position(0) };
    assert_eq!(world.store.head(shard, log).await.unwrap(), expected);
    assert!(world.store.log_after(shard, log, Position(0), 10).await.unwrap().is_empty());
    let filter = EventFilter::default();
    assert_eq!(world.store.events(shard, &filter, Position(0), 10).await.unwrap(), (vec![], Position(0)));
    let (stamped, heads) = world.stamp(3).await;
    assert_eq!((stamped, heads), (6, [Position(3), Position(3)]));
    let entries = world.store.log_after(shard, log, Position(1), 10).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.position.0).collect::<Vec<_>>(), [2, 3]);
    assert!(entries.iter().all(|entry| entry.event.position == entry.position));
    let head = world.store.head(shard, log).await.unwrap();
    assert_eq!((head.head, head.unstamped), (Position(3), 1));
}

pub async fn a_filter_narrows_and_says_how_far_it_read(world: World) {
    let (one, two) = (world.session().await, world.session().await);
    world.accepted(one, 3).await;
    world.accepted(two, 3).await;
    world.settle().await;
    let shard = world.fence.shard;
    let all = EventFilter {
        tenant: Some(world.tenant),
        session: Some(two),
        kinds: vec!["message.queued".into()],
        ..EventFilter::default()
    };
    let (events, upto) = world.store.events(shard, &all, Position(0), 2).await.unwrap();
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| all.wants(event)));
    assert_eq!(upto, events[1].position, "a full answer stops at its last event");
    let (rest, upto) = world.store.events(shard, &all, upto, 2).await.unwrap();
    assert_eq!((rest.len(), upto), (1, Position(8)));
    let kinds = vec!["session.created".into(), "message.failed".into()];
    let (created, upto) = world
        .store
        .events(shard, &EventFilter { kinds, ..EventFilter::default() }, Position(0), 10)
        .await
        .unwrap();
    assert_eq!((created.len(), upto), (2, Position(8)));
}

pub async fn a_filter_that_nothing_passes_still_gets_on(world: World) {
    let session = world.session().await;
    world.accepted(session, 20).await;
    world.settle().await;
    let nobody = EventFilter {
        tenant: Some(recado::domain::ids::TenantId(uuid::Uuid::now_v7())),
        ..EventFilter::default()
    };
    let (events, upto) = world.store.events(world.fence.shard, &nobody, Position(0), 5).await.unwrap();
    assert_eq!((events.len(), upto), (0, Position(21)));
}
