//! Accepting: once, in order, all or nothing.

use futures_util::future::join_all;
use recado::domain::Kind;
use recado::domain::command::CommandType;
use recado::domain::event::Log;
use recado::domain::ids::{SessionId, TenantId};
use recado::domain::message::MessageState;
use recado::domain::session::SessionState;
use recado::domain::write::{Outcome, Write};
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::world::{World, code, key, later, page};
use crate::invariants::Open;

pub async fn a_message_is_accepted_with_its_command_chat_and_events(world: World) {
    let session = world.session().await;
    let accept = world.message_to(session, "15550100199", "hola");
    let Outcome::Accepted { response, replayed } = world.accept(&accept).await.unwrap() else { panic!() };
    assert_eq!((response, replayed), (accept.response.clone(), false));

    let new = accept.message.clone().unwrap();
    let view = world.message_view(new.id).await;
    assert_eq!(
        (view.state, view.content, view.wa_message_id),
        (MessageState::Queued, new.content, new.wa_id.clone())
    );
    assert_eq!((view.chat.as_str(), view.sender), ("15550100199@s.whatsapp.net", None));
    let chats = world.store.chats(world.tenant, None, page(10)).await.unwrap().items;
    assert_eq!(chats.len(), 1);
    assert_eq!(chats[0].last_message.as_deref(), Some("hola"));
    assert_eq!(world.view(session).await.queued, 1);

    let queued = world.events(session, Log::DomainEvents).await.pop().unwrap();
    assert_eq!(queued.kind, "message.queued");
    let data = json!({"messageId": new.id, "waMessageId": new.wa_id, "to": new.to, "contentType": "text"});
    assert_eq!(queued.data, data);
    let wake = world.events(session, Log::SessionCommands).await.pop().unwrap();
    assert_eq!((wake.kind.as_str(), wake.seq), ("session.sendMessage", 1));
    assert_eq!(wake.data.value()["payload"], json!({"messageId": new.id}));
    assert_eq!(wake.data.value()["commandId"], json!(accept.command));
    assert!(!wake.data.as_str().contains("hola"), "what a message says stays out of the command log");
    world.check(Open::Allowed).await;
}

pub async fn an_idempotency_key_used_fifty_times_at_once_makes_one_message(world: World) {
    let session = world.session().await;
    let ledgers = world.ledgers().await;
    let mut asked = JoinSet::new();
    for _ in 0..50 {
        let mut accept = world.message_to(session, "15550100199", "hola");
        accept.idempotency = key("once", 1);
        let ledgers = ledgers.clone();
        asked.spawn(async move { ledgers.write(Write::Accept(accept)).await.unwrap() });
    }
    let answers = asked.join_all().await;
    let mut first_time = 0;
    let mut responses = Vec::new();
    for answer in answers {
        let Outcome::Accepted { response, replayed } = answer else { panic!() };
        first_time += usize::from(!replayed);
        responses.push(response);
    }
    assert_eq!(first_time, 1);
    assert!(responses.iter().all(|response| *response == responses[0]), "50 identical answers");
    assert_eq!(world.chat(session, "15550100199").await.len(), 1);
    assert_eq!(world.story(session).await, ["session.created", "message.queued"]);
    assert_eq!(world.view(session).await.queued, 1);
}

pub async fn an_idempotency_key_used_twice_in_one_batch_makes_one_message(world: World) {
    let session = world.session().await;
    let batch: Vec<_> = [1, 1, 2]
        .into_iter()
        .map(|request| {
            let mut accept = world.message_to(session, "15550100199", "hola");
            accept.idempotency = key("once", request);
            Write::Accept(accept)
        })
        .collect();
    let answers = world.store.commit(batch.into()).await.unwrap();
    let response = |n: usize| match &answers[n] {
        Ok(Outcome::Accepted { response, replayed }) => (response.clone(), *replayed),
        other => panic!("{other:?}"),
    };
    assert!(!response(0).1 && response(1).1);
    assert_eq!(response(0).0, response(1).0);
    assert_eq!(code(&answers[2]), "idempotency_key_reused");
    assert_eq!(world.chat(session, "15550100199").await.len(), 1);
}

pub async fn an_idempotency_key_is_refused_for_another_request(world: World) {
    let session = world.session().await;
    let mut accept = world.message(session, "hola");
    accept.idempotency = key("once", 1);
    world.accept(&accept).await.unwrap();
    let mut other = world.message(session, "adiós");
    other.idempotency = key("once", 2);
    let refusal = world.accept(&other).await.unwrap_err();
    assert_eq!((refusal.kind, refusal.code), (Kind::Conflict, "idempotency_key_reused"));
    assert_eq!(refusal.field.as_deref(), Some("Idempotency-Key"));
    assert_eq!(world.story(session).await, ["session.created", "message.queued"]);
    // A session made with the same key is another request too.
    let mut create = world.create();
    create.idempotency = key("once", 3);
    assert_eq!(code(&world.write(Write::CreateSession(create)).await), "idempotency_key_reused");
}

pub async fn a_key_of_one_tenant_is_free_for_another(world: World) {
    let mut create = world.create();
    create.idempotency = key("once", 1);
    let mut other = world.create();
    other.idempotency = key("once", 2);
    other.tenant = TenantId(Uuid::now_v7());
    world.write(Write::CreateSession(create)).await.unwrap();
    world.write(Write::CreateSession(other)).await.unwrap();
}

pub async fn a_refused_request_does_not_use_its_key_up(world: World) {
    let mut accept = world.message(SessionId::new(), "hola");
    accept.idempotency = key("once", 1);
    assert_eq!(code(&world.accept(&accept).await), "session_not_found");
    accept.session = world.session().await;
    let answer = world.accept(&accept).await.unwrap();
    assert!(matches!(answer, Outcome::Accepted { replayed: false, .. }));
}

pub async fn a_command_accepted_twice_is_one_command(world: World) {
    let session = world.session().await;
    let accept = world.command(session, CommandType::Start);
    world.accept(&accept).await.unwrap();
    let batch = [Write::Accept(accept.clone()), Write::Accept(accept.clone())];
    for answer in world.store.commit(batch.into()).await.unwrap() {
        assert!(matches!(answer.unwrap(), Outcome::Accepted { replayed: true, .. }));
    }
    assert_eq!(world.view(session).await.queued, 1);
    assert_eq!(world.take(session, 10).await.len(), 1);
    assert_eq!(world.events(session, Log::SessionCommands).await.len(), 1);
}

pub async fn a_full_queue_is_busy_and_free_again(world: World) {
    let session = world.session().await;
    let batch: Vec<_> = (0..5)
        .map(|_| {
            let mut accept = world.message(session, "hola");
            accept.queue_limit = 3;
            Write::Accept(accept)
        })
        .collect();
    let answers = world.store.commit(batch.into()).await.unwrap();
    let codes: Vec<_> = answers.iter().map(code).collect();
    assert_eq!(codes, ["", "", "", "session_queue_full", "session_queue_full"]);
    assert_eq!(answers[4].as_ref().unwrap_err().kind, Kind::Busy);
    let taken = world.take(session, 1).await;
    let sent = taken[0].message.as_ref().unwrap().wa_id.clone();
    world.done(world.progress(session, &sent, &[MessageState::Sent])).await;
    let mut accept = world.message(session, "hola");
    accept.queue_limit = 3;
    world.accept(&accept).await.unwrap();
}

pub async fn one_bad_write_in_a_batch_fails_alone(world: World) {
    let session = world.session().await;
    let good = world.message(session, "hola");
    let mut foreign = world.message(session, "hola");
    foreign.tenant = TenantId(Uuid::now_v7());
    let batch = [
        Write::Accept(world.message(SessionId::new(), "hola")),
        Write::Accept(good.clone()),
        Write::Accept(foreign),
        Write::Stamp(recado::domain::ids::Fence { epoch: recado::domain::ids::Epoch(99), ..world.fence }, 10),
    ];
    let answers = world.store.commit(batch.into()).await.unwrap();
    let codes: Vec<_> = answers.iter().map(code).collect();
    assert_eq!(codes, ["session_not_found", "", "session_not_found", "fenced"]);
    assert_eq!(world.view(session).await.queued, 1);
    world.check(Open::Allowed).await;
}

pub async fn sixteen_writers_lose_nothing_and_keep_order(world: World) {
    let mut sessions = Vec::new();
    for _ in 0..20 {
        sessions.push(world.session().await);
    }
    let ledgers = world.ledgers().await;
    let mut writers = JoinSet::new();
    for writer in 0..16_usize {
        let ledgers = ledgers.clone();
        let accepts: Vec<_> = (0..250)
            .map(|n| {
                let mut accept = world.message(sessions[(writer + n) % 20], &format!("{writer}/{n}"));
                if n % 20 == 7 {
                    // One in twenty is refused.
                    accept.queue_limit = 0;
                }
                accept
            })
            .collect();
        writers.spawn(async move {
            let mut accepted = 0;
            for accept in accepts {
                accepted += usize::from(ledgers.write(Write::Accept(accept)).await.is_ok());
            }
            accepted
        });
    }
    // The relay numbers meanwhile, as it would.
    let mut stamped = 0;
    while !writers.is_empty() {
        stamped += world.stamp(64).await.0;
        while let Some(done) = writers.try_join_next() {
            assert_eq!(done.unwrap(), 250 - 13);
        }
        tokio::task::yield_now().await;
    }
    world.settle().await;
    let accepted = 16 * (250 - 13);
    let head = world.store.head(world.fence.shard, Log::SessionCommands).await.unwrap();
    assert_eq!(head.head.0, i64::from(accepted), "lost 0");
    assert!(stamped > 0);
    world.check(Open::Allowed).await;
}

pub async fn a_lost_wake_loses_nothing(world: World) {
    let session = world.session().await;
    world.done(Write::Link(world.link(session, SessionState::Connected, "logged_in"))).await;
    // The ledger tells relays and consumers that are not there.
    let ledgers = world.ledgers().await;
    let accepts = (0..10).map(|_| Write::Accept(world.message(session, "hola")));
    let answers = join_all(accepts.map(|accept| ledgers.write(accept))).await;
    assert!(answers.iter().all(Result::is_ok));
    // The next look at the tables finds all of it.
    let shard = world.fence.shard;
    assert_eq!(world.store.sessions_behind(shard, later(60_000), 10).await.unwrap(), [session]);
    assert_eq!(world.store.head(shard, Log::SessionCommands).await.unwrap().unstamped, 10);
    assert_eq!(world.stamp(100).await.0, 23);
    assert_eq!(world.take(session, 100).await.len(), 10);
    assert!(world.store.sessions_behind(shard, later(60_000), 10).await.unwrap().is_empty());
}

pub async fn any_batch_size_is_written_whole(world: World) {
    let session = world.session().await;
    let mut total = 0;
    for size in [1, 2, 3, 7, 63, 64, 65, 200, 300] {
        let batch: Vec<_> = (0..size).map(|_| Write::Accept(world.message(session, "hola"))).collect();
        let answers = world.store.commit(batch.into()).await.unwrap();
        assert!(answers.iter().all(Result::is_ok));
        total += size;
    }
    assert_eq!(world.take(session, 10_000).await.len(), total);
    let wakes = world.events(session, Log::SessionCommands).await;
    assert_eq!(wakes.len(), total);
    world.check(Open::Allowed).await;
}
