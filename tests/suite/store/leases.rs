//! One owner per shard.

use recado::domain::Kind;
use recado::domain::cluster::NodeView;
use recado::domain::event::Log;
use recado::domain::ids::{DeadLetterId, Epoch, EventId, Fence, Position, SessionId, Shard};
use recado::domain::message::MessageState;
use recado::domain::session::SessionState;
use recado::domain::time::now;
use recado::domain::write::{
    AuthOp, AuthWrite, DeliveryFailed, Finish, Handled, Inbound, LinkChange, Outcome, Progress, Sweep, Take,
    TakeLease, Write,
};

use super::world::{World, code, later};
use crate::invariants::Open;

async fn ask(world: &World, take: TakeLease) -> Option<Epoch> {
    match world.write(Write::TakeLease(take)).await.unwrap() {
        Outcome::Lease(epoch) => epoch,
        other => panic!("{other:?}"),
    }
}

pub async fn a_lease_has_one_holder_until_it_ends(world: World) {
    let shard = Shard(1);
    let mut first = world.take_lease(shard, "a");
    let epoch = ask(&world, first.clone()).await;
    assert!(epoch.is_some());
    assert_eq!(ask(&world, world.take_lease(shard, "b")).await, None);
    first.held = epoch;
    assert_eq!(ask(&world, first.clone()).await, epoch, "kept");
    // Late, but nobody came in between.
    first.at = later(3_600_000);
    assert_eq!(ask(&world, first.clone()).await, epoch);
    let mut second = world.take_lease(shard, "b");
    second.at = later(3 * 3_600_000);
    let next = ask(&world, second).await;
    assert!(next > epoch, "taken over when it ended");
    assert_eq!(ask(&world, first).await, None, "what was lost cannot be kept");
}

pub async fn a_released_lease_is_free_and_fences_its_holder(world: World) {
    let old = world.fence;
    world.done(Write::ReleaseLease(old)).await;
    assert_eq!(code(&world.write(Write::Stamp(old, 1)).await), "fenced");
    assert_eq!(code(&world.write(Write::ReleaseLease(old)).await), "fenced");
    let next = world.lease(old.shard, "node-2").await.unwrap();
    assert!(next.epoch > old.epoch);
    assert!(world.write(Write::Stamp(next, 1)).await.is_ok());
}

pub async fn a_restarted_owner_fences_its_predecessor(world: World) {
    let again = world.lease(world.fence.shard, "node-1").await.unwrap();
    assert!(again.epoch > world.fence.epoch);
    assert_eq!(code(&world.write(Write::Stamp(world.fence, 1)).await), "fenced");
}

/// Every write that needs the lease, with this fence.
fn fenced_writes(world: &World, fence: Fence, session: SessionId) -> Vec<Write> {
    let wa_id = recado::domain::ids::WaId::of(recado::domain::ids::MessageId::new());
    let failed = DeliveryFailed {
        fence,
        group: "webhooks".to_owned(),
        log: Log::DomainEvents,
        position: Position(1),
        event: EventId::new(),
        attempts: 1,
        error: "no".to_owned(),
        at: now(),
        next_at: now(),
        dead_letter: None,
    };
    let news = vec![world.news(&wa_id, MessageState::Sent)];
    let messages = vec![world.received(Some("15550100199"), None, "stale")];
    let ops = vec![AuthOp::PutCreds(vec![1])];
    vec![
        Write::Take(Take { fence, ..world.taking(session, 10) }),
        Write::Requeue(fence, session),
        Write::Finish(Finish { fence, session, commands: Vec::new() }),
        Write::Progress(Progress { fence, session, news }),
        Write::Inbound(Inbound { fence, session, messages, at: now() }),
        Write::Link(LinkChange { fence, ..world.link(session, SessionState::Connected, "stale") }),
        Write::Auth(AuthWrite { fence, tenant: world.tenant, session, ops }),
        Write::Sweep(Sweep { fence, at: later(9_000_000), keys_before: later(9_000_000), limit: 10 }),
        Write::DeleteSession(fence, session),
        Write::Handled(Handled {
            fence,
            group: "webhooks".to_owned(),
            log: Log::DomainEvents,
            cursor: Position(9),
            above: Vec::new(),
        }),
        Write::DeliveryFailed(failed.clone()),
        Write::Bury(failed),
        Write::Redriven(fence, DeadLetterId::new()),
        Write::Stamp(fence, 10),
        Write::ReleaseLease(fence),
    ]
}

async fn nothing_changes(world: &World, fence: Fence) {
    let session = world.session().await;
    world.accepted(session, 2).await;
    let before = (world.view(session).await, world.story(session).await);
    let writes = fenced_writes(world, fence, session);
    for write in &writes {
        let refusal = world.write(write.clone()).await.unwrap_err();
        assert_eq!(refusal.kind, Kind::Fenced, "{write:?}");
    }
    let count = writes.len();
    let answers = world.store.commit(writes.into()).await.unwrap();
    assert_eq!(answers.iter().filter(|answer| code(answer) == "fenced").count(), count);
    assert_eq!((world.view(session).await, world.story(session).await), before);
    assert!(world.store.creds(session).await.unwrap().is_none());
    let group = world.store.group(world.fence.shard, Log::DomainEvents, "webhooks").await.unwrap();
    assert_eq!(group, recado::domain::view::GroupState::default());
    assert_eq!(world.take(session, 10).await.len(), 2);
    world.check(Open::Allowed).await;
}

pub async fn a_stale_fence_changes_nothing(world: World) {
    let stale = Fence { epoch: Epoch(world.fence.epoch.0 - 1), ..world.fence };
    nothing_changes(&world, stale).await;
}

pub async fn a_fence_of_another_shard_changes_nothing(world: World) {
    let session = world.session().await;
    let other = world.lease(Shard(1), "node-1").await.unwrap();
    let of_sessions = fenced_writes(&world, other, session).into_iter().filter(|write| {
        !matches!(
            write,
            Write::Sweep(_)
                | Write::Handled(_)
                | Write::DeliveryFailed(_)
                | Write::Bury(_)
                | Write::Redriven(..)
                | Write::Stamp(..)
                | Write::ReleaseLease(_)
        )
    });
    for write in of_sessions {
        assert_eq!(code(&world.write(write.clone()).await), "fenced", "{write:?}");
    }
    let mut overdue = world.message(session, "hola");
    overdue.message.as_mut().unwrap().deadline = later(-1);
    world.accept(&overdue).await.unwrap();
    let sweep = Sweep { fence: other, at: now(), keys_before: later(-1), limit: 10 };
    assert!(matches!(world.write(Write::Sweep(sweep)).await.unwrap(), Outcome::Swept(0)));
    assert_eq!(world.story(session).await, ["session.created", "message.queued"]);
}

pub async fn a_stale_relay_stamps_nothing(world: World) {
    let session = world.session().await;
    world.accepted(session, 20).await;
    let stale = world.fence;
    let fresh = world.lease(stale.shard, "node-1").await.unwrap();
    let (mut by_stale, mut by_fresh) = (0, 0);
    for _ in 0..20 {
        let batch = [Write::Stamp(stale, 3), Write::Stamp(fresh, 3), Write::Stamp(stale, 3)];
        for (answer, fence) in
            world.store.commit(batch.into()).await.unwrap().into_iter().zip([stale, fresh, stale])
        {
            match answer {
                Ok(Outcome::Stamped { stamped, .. }) if fence == fresh => by_fresh += stamped,
                Ok(_served) => by_stale += 1,
                Err(refusal) => assert_eq!(refusal.kind, Kind::Fenced),
            }
        }
    }
    assert_eq!((by_stale, by_fresh), (0, 41));
    crate::invariants::figures(&*world.store, 2).await.assert(Open::Allowed);
}

pub async fn a_lease_that_was_renewed_is_not_taken_by_whoever_saw_it_before(world: World) {
    let shard = Shard(1);
    let mut owner = world.take_lease(shard, "a");
    owner.held = ask(&world, owner.clone()).await;
    let seen = world.store.cluster().await.unwrap();
    let seen = seen.leases.iter().find(|lease| lease.shard == shard).unwrap().clone();
    assert_eq!((seen.node.as_deref(), Some(seen.epoch)), (Some("a"), owner.held));
    let taken_over = || TakeLease { at: seen.expires_at, ..world.take_lease(shard, "b") };
    // Whatever the clocks say, a renewal after the look counts.
    owner.at = later(1);
    assert_eq!(ask(&world, owner.clone()).await, owner.held);
    assert_eq!(ask(&world, taken_over()).await, None);
    let seen = world.store.cluster().await.unwrap();
    let seen = seen.leases.iter().find(|lease| lease.shard == shard).unwrap().clone();
    let takes = TakeLease { at: seen.expires_at, ..world.take_lease(shard, "b") };
    assert!(ask(&world, takes).await > owner.held, "it stood still: it is free");
    assert_eq!(ask(&world, owner).await, None);
}

fn node(name: &str, seen: i64) -> NodeView {
    NodeView {
        node: name.to_owned(),
        address: format!("http://{name}:3000"),
        roles: "api".parse().unwrap(),
        version: "1.2.3".to_owned(),
        started_at: later(0),
        seen_at: later(seen),
    }
}

pub async fn nodes_are_seen_until_they_leave_or_are_forgotten(world: World) {
    let (first, second) = (node("a", 0), node("b", 0));
    for one in [&first, &second] {
        world.done(Write::Beat(one.clone())).await;
    }
    assert_eq!(world.store.cluster().await.unwrap().nodes, [first.clone(), second.clone()]);
    let again = NodeView { seen_at: later(5), ..first };
    world.done(Write::Beat(again.clone())).await;
    assert_eq!(world.store.cluster().await.unwrap().nodes, [again, second.clone()]);
    world.done(Write::Leave("a".to_owned())).await;
    world.done(Write::Leave("a".to_owned())).await;
    assert_eq!(world.store.cluster().await.unwrap().nodes, [second]);
    let next_week = node("c", 7 * 86_400_000);
    world.done(Write::Beat(next_week.clone())).await;
    assert_eq!(world.store.cluster().await.unwrap().nodes, [next_week], "b is forgotten");
}

pub async fn the_first_one_to_settle_a_fact_decides(world: World) {
    for value in ["16", "8", "16"] {
        let settled = world.write(Write::Settle("shards", value.to_owned())).await.unwrap();
        assert!(matches!(&settled, Outcome::Settled(fact) if fact == "16"), "{settled:?}");
    }
    let other = world.write(Write::Settle("other", "8".to_owned())).await.unwrap();
    assert!(matches!(&other, Outcome::Settled(fact) if fact == "8"), "{other:?}");
}
