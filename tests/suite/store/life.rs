//! Sessions from their making to their end.

use recado::domain::Kind;
use recado::domain::command::CommandType;
use recado::domain::event::Log;
use recado::domain::ids::CommandId;
use recado::domain::ids::Shard;
use recado::domain::message::MessageState;
use recado::domain::session::SessionState::{
    Connected, Failed, LoggedOut, PairingCode, PendingQr, Reconnecting, Starting,
};
use recado::domain::write::{AuthOp, AuthWrite, CreateSession, LinkChange, Write};
use serde_json::json;

use super::world::{World, code, later};
use crate::invariants::Open;

pub async fn a_session_starts_with_its_event_and_command(world: World) {
    let create =
        CreateSession { start: Some(CommandId::new()), name: Some("ventas".to_owned()), ..world.create() };
    world.write(Write::CreateSession(create.clone())).await.unwrap();
    let view = world.view(create.session).await;
    assert_eq!((view.state.as_str(), view.queued, view.name.as_deref()), ("created", 1, Some("ventas")));
    assert_eq!(
        (view.tenant_id, view.endpoint, view.created_at),
        (create.tenant, create.endpoint.clone(), create.at)
    );
    assert_eq!(world.story(create.session).await, ["session.created"]);
    let wake = world.events(create.session, Log::SessionCommands).await.remove(0);
    assert_eq!((wake.kind.as_str(), wake.seq), ("session.start", 1));
    let taken = world.take(create.session, 10).await;
    assert_eq!((Some(taken[0].command), taken[0].kind), (create.start, CommandType::Start));
    assert_eq!(code(&world.write(Write::CreateSession(create)).await), "session_exists");
}

pub async fn a_session_name_is_taken_once_per_tenant(world: World) {
    let named = |tenant| CreateSession { name: Some("ventas".to_owned()), tenant, ..world.create() };
    let first = named(world.tenant);
    let batch = [Write::CreateSession(first.clone()), Write::CreateSession(named(world.tenant))];
    let answers = world.store.commit(batch.into()).await.unwrap();
    assert_eq!((code(&answers[0]), code(&answers[1])), ("", "session_name_taken"));
    assert_eq!(answers[1].as_ref().unwrap_err().kind, Kind::Conflict);
    let other = recado::domain::ids::TenantId(uuid::Uuid::now_v7());
    world.write(Write::CreateSession(named(other))).await.unwrap();
    world.done(Write::DeleteSession(world.fence, first.session)).await;
    world.write(Write::CreateSession(named(world.tenant))).await.unwrap();
}

pub async fn no_more_sessions_than_allowed(world: World) {
    let limited = || Write::CreateSession(CreateSession { limit: 2, ..world.create() });
    let answers = world.store.commit([limited(), limited(), limited()].into()).await.unwrap();
    assert_eq!(answers.iter().map(code).collect::<Vec<_>>(), ["", "", "session_limit"]);
    assert_eq!(code(&world.write(limited()).await), "session_limit");
}

pub async fn every_change_of_state_is_an_event_and_a_transition(world: World) {
    let session = world.session().await;
    let identified = LinkChange {
        pn: Some("15550100100".parse().unwrap()),
        lid: Some("42@lid".parse().unwrap()),
        push_name: Some("Ventas".to_owned()),
        ..world.link(session, Connected, "logged_in")
    };
    for link in [
        world.link(session, Starting, "requested"),
        world.link(session, Starting, "requested"),
        identified.clone(),
        world.link(session, Connected, "logged_in"),
        world.link(session, Reconnecting, "keepalive_timeout"),
        world.link(session, Connected, "logged_in"),
    ] {
        world.done(Write::Link(link)).await;
    }
    let story = world.story(session).await;
    assert_eq!(
        story[1..],
        [
            "session.status.changed",
            "session.status.changed",
            "session.status.connected",
            "session.status.changed",
            "session.status.disconnected",
            "session.status.changed",
            "session.status.connected",
        ]
    );
    let events = world.events(session, Log::DomainEvents).await;
    assert_eq!(events[1].data, json!({"from": "created", "to": "starting", "reason": "requested"}));
    assert_eq!(
        events[3].data,
        json!({"pn": identified.pn, "lid": identified.lid, "connectedAt": identified.at})
    );
    assert_eq!(events[5].data.value()["reason"], "keepalive_timeout");
    assert_eq!(events[7].data.value()["pn"], json!(identified.pn), "what is known is not forgotten");
    let view = world.view(session).await;
    assert_eq!((view.pn, view.lid, view.push_name), (identified.pn, identified.lid, identified.push_name));
    assert!(view.connected_at >= Some(identified.at));
    let timeline = world.store.timeline(world.tenant, session).await.unwrap();
    let states: Vec<_> = timeline.iter().map(|step| (step.from.as_str(), step.to.as_str())).collect();
    let newest_first = [
        ("reconnecting", "connected"),
        ("connected", "reconnecting"),
        ("starting", "connected"),
        ("created", "starting"),
    ];
    assert_eq!(states, newest_first);
    world.check(Open::Refused).await;
}

pub async fn the_last_fifty_transitions_are_kept(world: World) {
    let session = world.session().await;
    for n in 0..35 {
        let there = world.link(session, Connected, &format!("up {n}"));
        let gone = world.link(session, Reconnecting, &format!("down {n}"));
        world.store.commit([Write::Link(there), Write::Link(gone)].into()).await.unwrap();
    }
    let timeline = world.store.timeline(world.tenant, session).await.unwrap();
    assert_eq!(timeline.len(), 50);
    assert_eq!((timeline[0].reason.as_str(), timeline[49].reason.as_str()), ("down 34", "up 10"));
}

pub async fn a_code_is_shown_once_and_cleared(world: World) {
    let session = world.session().await;
    let until = later(20_000);
    let coded = |state, code: &str| LinkChange {
        code: Some((code.to_owned(), until)),
        ..world.link(session, state, "unlinked")
    };
    for link in [
        coded(PendingQr, "one"),
        coded(PendingQr, "one"),
        coded(PendingQr, "two"),
        coded(PairingCode, "ABCD"),
    ] {
        world.done(Write::Link(link)).await;
    }
    assert_eq!(world.view(session).await.code, Some(("ABCD".to_owned(), until)));
    let shown: Vec<_> = world.events(session, Log::DomainEvents).await.into_iter().skip(1).collect();
    let kinds: Vec<_> = shown.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "session.status.changed",
            "session.qr.updated",
            "session.qr.updated",
            "session.status.changed",
            "session.pairing_code.updated"
        ]
    );
    assert_eq!(shown[2].data, json!({"qr": "two", "expiresAt": until}));
    assert_eq!(shown[4].data, json!({"pairingCode": "ABCD", "expiresAt": until}));
    world.done(Write::Link(world.link(session, Connected, "logged_in"))).await;
    assert_eq!(world.view(session).await.code, None);
}

pub async fn a_failed_session_says_why(world: World) {
    let session = world.session().await;
    world.done(Write::Link(world.link(session, Failed, "banned"))).await;
    let event = world.events(session, Log::DomainEvents).await.pop().unwrap();
    assert_eq!((event.kind.as_str(), &event.data.value()["code"]), ("session.error", &"banned".into()));
    assert_eq!(world.view(session).await.reason, "banned");
}

#[expect(clippy::cognitive_complexity, reason = "one story, told in order: each assertion counts")]
pub async fn a_deleted_session_ends_everything_of_it(world: World) {
    let session = world.session().await;
    let messages = world.accepted(session, 3).await;
    world.take(session, 2).await;
    world.done(world.progress(session, &messages[0].wa_id, &[MessageState::Sent])).await;
    let ops = vec![
        AuthOp::PutCreds(vec![1]),
        AuthOp::Put { kind: "prekey", key: "1".to_owned(), value: vec![2], stamp: 0 },
    ];
    world.done(Write::Auth(AuthWrite { fence: world.fence, tenant: world.tenant, session, ops })).await;
    let delete = Write::DeleteSession(world.fence, session);
    // What was accepted in the same moment ends too.
    let last = world.message(session, "too late");
    let batch = [delete.clone(), Write::Accept(last.clone())];
    assert!(world.store.commit(batch.into()).await.unwrap().iter().all(Result::is_ok));
    world.done(delete).await;

    assert!(world.store.owned_session(session).await.unwrap().is_none());
    assert!(world.store.session(world.tenant, session).await.unwrap().is_none());
    assert!(world.store.creds(session).await.unwrap().is_none());
    assert!(world.store.auth(session, "prekey", "1").await.unwrap().is_none());
    assert!(world.store.sessions_to_run(Shard(0), None, 10).await.unwrap().is_empty());
    let mut codes = Vec::new();
    for message in messages.iter().chain(last.message.as_ref()) {
        codes.push(world.message_view(message.id).await.code.unwrap_or_default());
    }
    assert_eq!(codes, ["", "session_deleted", "session_deleted", "session_deleted"]);
    let story = world.story(session).await;
    assert_eq!(story.iter().filter(|kind| *kind == "message.failed").count(), 3);
    assert_eq!(story.last().unwrap(), "session.deleted");
    assert_eq!(story.iter().filter(|kind| *kind == "session.deleted").count(), 1);
    assert_eq!(code(&world.accept(&world.message(session, "no")).await), "session_not_found");
    let late = world.received(Some("15550100199"), None, "no");
    assert_eq!(code(&world.write(world.inbound(session, vec![late])).await), "session_not_found");
    world.check(Open::Refused).await;
}

pub async fn sessions_that_need_an_actor_are_listed(world: World) {
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(world.session().await);
    }
    world.done(Write::Link(world.link(ids[1], Connected, "x"))).await;
    world.done(Write::Link(world.link(ids[2], LoggedOut, "x"))).await;
    world.accept(&world.command(ids[3], CommandType::Start)).await.unwrap();
    world.done(Write::Link(world.link(ids[4], PendingQr, "x"))).await;
    // A message alone starts no session: it waits for somebody to link it.
    world.accepted(ids[5], 1).await;
    let run = async |after, limit| world.store.sessions_to_run(Shard(0), after, limit).await.unwrap();
    assert_eq!(run(None, 10).await, [ids[1], ids[3], ids[4]]);
    assert_eq!(run(None, 1).await, [ids[1]]);
    assert_eq!(run(Some(ids[1]), 1).await, [ids[3]]);
    assert!(world.store.sessions_to_run(Shard(1), None, 10).await.unwrap().is_empty());
    world.take(ids[3], 1).await;
    assert_eq!(run(None, 10).await, [ids[1], ids[3], ids[4]], "what was taken is not finished");
}

pub async fn sessions_whose_work_was_forgotten_are_found(world: World) {
    let (fresh, old) = (later(-60_000), later(60_000));
    let (connected, resting, idle) = (world.session().await, world.session().await, world.session().await);
    for session in [connected, idle] {
        world.done(Write::Link(world.link(session, Connected, "x"))).await;
    }
    world.accepted(connected, 2).await;
    world.accepted(resting, 2).await;
    let behind = async |before| world.store.sessions_behind(Shard(0), before, 10).await.unwrap();
    assert_eq!(behind(old).await, [connected], "a message waits for its link, not for a wake");
    assert!(behind(fresh).await.is_empty());
    world.accept(&world.command(resting, CommandType::Start)).await.unwrap();
    assert_eq!(behind(old).await, [connected, resting]);
    assert_eq!(world.store.sessions_behind(Shard(0), old, 1).await.unwrap(), [connected]);
    for session in [connected, resting] {
        world.take(session, 10).await;
    }
    assert!(behind(old).await.is_empty(), "what was taken is not forgotten");
}
