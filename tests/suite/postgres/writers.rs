//! Many writers at once, each with connections of its own.

#![allow(clippy::disallowed_methods, reason = "a test has no actor that its tasks could belong to")]

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use recado::domain::command::CommandType;
use recado::domain::event::Log;
use recado::domain::write::{Outcome, Write};
use recado::infra::store::Store;
use tokio::task::JoinSet;

use super::{beside, count, run, store, world};
use crate::invariants::Open;
use crate::store::world::{code, key};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_connections_commit_and_roll_back_on_twenty_sessions_and_lose_nothing() {
    let (world, url) = world().await;
    let mut sessions = Vec::new();
    for _ in 0..20 {
        sessions.push(world.session().await);
    }
    let mut writers = JoinSet::new();
    for writer in 0..16_usize {
        let node = store(&url).await;
        let batches: Vec<_> = (0..60)
            .map(|n| {
                // Sessions in every order: locks are taken in one.
                let at = |k: usize| sessions[(writer * 7 + n * 3 + k * (writer + 1)) % 20];
                (0..3).map(|k| world.message(at(k), &format!("{writer}/{n}/{k}"))).collect::<Vec<_>>()
            })
            .collect();
        writers.spawn(async move {
            let mut accepted = Vec::new();
            for (n, batch) in batches.into_iter().enumerate() {
                let writes: Vec<_> = batch.iter().cloned().map(Write::Accept).collect();
                let mut commit = Box::pin(node.commit(writes.into()));
                if n % 20 == 7 {
                    // One in twenty goes away in the middle of its transaction.
                    let gone = tokio::time::timeout(Duration::from_millis(3), &mut commit).await;
                    drop(commit);
                    if gone.is_err() {
                        continue;
                    }
                } else {
                    assert!(commit.await.unwrap().iter().all(Result::is_ok));
                }
                accepted.extend(batch);
            }
            accepted
        });
    }
    let mut accepted = Vec::new();
    while !writers.is_empty() {
        world.stamp(64).await;
        while let Some(done) = writers.try_join_next() {
            accepted.extend(done.unwrap());
        }
    }
    world.settle().await;
    for accept in &accepted {
        let id = accept.message.as_ref().unwrap().id;
        assert!(
            world.store.message(world.tenant, id).await.unwrap().is_some(),
            "an answered commit is there"
        );
    }
    let head = world.store.head(world.fence.shard, Log::SessionCommands).await.unwrap().head.0;
    assert!(head >= i64::try_from(accepted.len()).unwrap() && head <= 16 * 60 * 3);
    let queued: i64 = {
        let mut all = 0;
        for session in &sessions {
            all += world.view(*session).await.queued;
        }
        all
    };
    assert_eq!(queued, head, "each accepted command is on the log once");
    world.check(Open::Allowed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_holds_its_transaction_delays_no_other_session() {
    let (world, url) = world().await;
    let (held, free) = (world.session().await, world.session().await);
    let mut other = beside(&url).await;
    // As far as a commit of another node comes before it is numbered.
    run(&mut other, &format!("begin; select * from sessions where id = '{held}' for update")).await;
    run(
        &mut other,
        &format!(
            "insert into outbox (event_id, tenant_id, shard, log, session_id, seq, type, version, occurred_at, data) \
             values (gen_random_uuid(), '{}', 0, 0, '{held}', 2, 'x', 1, 0, '{{}}')",
            world.tenant
        ),
    )
    .await;
    let waiting = {
        let (store, accept) = (Arc::clone(&world.store), world.message(held, "hola"));
        tokio::spawn(async move { store.commit([Write::Accept(accept)].into()).await })
    };
    for _ in 0..20 {
        world.accept(&world.message(free, "hola")).await.unwrap();
        world.stamp(100).await;
    }
    assert!(!waiting.is_finished(), "its own session waits for it, and all others were done before");
    run(&mut other, "rollback").await;
    assert!(waiting.await.unwrap().unwrap()[0].is_ok());
    world.check(Open::Allowed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_used_fifty_times_from_ten_nodes_makes_one_message() {
    let (world, url) = world().await;
    let session = world.session().await;
    let mut asked = JoinSet::new();
    for _ in 0..10 {
        let node = store(&url).await;
        for _ in 0..5 {
            let mut accept = world.message_to(session, "15550100199", "hola");
            accept.idempotency = key("once", 1);
            let node = node.clone();
            asked.spawn(async move { node.commit([Write::Accept(accept)].into()).await.unwrap().remove(0) });
        }
    }
    let (mut new, mut responses) = (0, Vec::new());
    for answer in asked.join_all().await {
        let Ok(Outcome::Accepted { response, replayed }) = answer else { panic!("{answer:?}") };
        new += usize::from(!replayed);
        responses.push(response);
    }
    assert_eq!((new, responses.len()), (1, 50));
    assert!(responses.iter().all(|response| *response == responses[0]));
    assert_eq!(world.chat(session, "15550100199").await.len(), 1);
    assert_eq!(world.view(session).await.queued, 1);
    world.check(Open::Allowed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_made_at_once_by_many_nodes_keep_keys_names_and_the_limit() {
    let (world, url) = world().await;
    let mut asked = JoinSet::new();
    for n in 0..24_u8 {
        let node = store(&url).await;
        let mut create = world.create();
        create.limit = 4;
        match n % 3 {
            0 => create.idempotency = key("once", 1),
            1 => create.name = Some("ventas".to_owned()),
            _ => (),
        }
        asked.spawn(
            async move { node.commit([Write::CreateSession(create)].into()).await.unwrap().remove(0) },
        );
    }
    let answers = asked.join_all().await;
    let made =
        answers.iter().filter(|answer| matches!(answer, Ok(Outcome::Accepted { replayed: false, .. })));
    assert_eq!(made.count(), 4);
    for answer in &answers {
        let known = ["", "session_limit", "session_name_taken"];
        assert!(known.contains(&code(answer)), "{answer:?}");
    }
    world.check(Open::Allowed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_accepted_by_many_nodes_is_one_command() {
    let (world, url) = world().await;
    let sessions = [world.session().await, world.session().await];
    let mut asked = JoinSet::new();
    let command = world.command(sessions[0], CommandType::Start);
    for n in 0..20 {
        let node = store(&url).await;
        let mut accept = command.clone();
        // The same id for another session, too: it is still one command.
        accept.session = sessions[n % 2];
        asked.spawn(async move { node.commit([Write::Accept(accept)].into()).await.unwrap().remove(0) });
    }
    let answers = asked.join_all().await;
    let new = answers.iter().filter(|answer| matches!(answer, Ok(Outcome::Accepted { replayed: false, .. })));
    assert_eq!(new.count(), 1);
    assert_eq!(world.view(sessions[0]).await.queued + world.view(sessions[1]).await.queued, 1);
    world.check(Open::Allowed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_abandoned_anywhere_leaves_all_or_nothing_and_nothing_open() {
    let (world, url) = world().await;
    let session = world.session().await;
    let (mut done, mut started) = (0, 0);
    for steps in 0..60 {
        let accept = world.message(session, "hola");
        let mut commit = Box::pin(world.store.commit([Write::Accept(accept.clone())].into()));
        let mut finished = false;
        for _ in 0..steps {
            if let Poll::Ready(answers) = poll!(&mut commit) {
                finished = answers.unwrap().iter().all(Result::is_ok);
                break;
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        drop(commit);
        started += 1;
        assert!(world.accept(&world.message(session, "después")).await.is_ok(), "after step {steps}");
        let message = accept.message.unwrap().id;
        let there = world.store.message(accept.tenant, message).await.unwrap().is_some();
        assert!(there || !finished, "an answered commit is there");
        done += usize::from(there);
    }
    assert!(done < started, "some were abandoned before their end");
    assert_eq!(world.view(session).await.queued, i64::try_from(done + started).unwrap());
    let mut other = beside(&url).await;
    let open = "select count(*) from pg_stat_activity where datname = current_database() \
        and state like 'idle in transaction%' and application_name = 'recado'";
    assert_eq!(count(&mut other, open).await, 0);
    world.check(Open::Allowed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_character_that_postgres_cannot_hold_is_replaced_and_holds_up_nobody() {
    let (world, _url) = world().await;
    let session = world.session().await;
    let mut message = world.received(Some("15550100199"), None, "a\0b");
    message.push_name = Some("An\0a".to_owned());
    world.done(world.inbound(session, vec![message.clone()])).await;
    world.done(world.inbound(session, vec![message])).await;
    let seen = world.chat(session, "15550100199").await;
    assert_eq!(seen.len(), 1);
    let recado::domain::content::Content::Text { text, .. } = &seen[0].content else { panic!() };
    assert_eq!(text, "a\0b", "JSON keeps it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_node_was_just_accepting_is_numbered_before_what_comes_after_it() {
    let (world, url) = world().await;
    let session = world.session().await;
    world.stamp(64).await;
    // Another node, which numbers nothing, in the middle of its transaction: it has the session and the next seq.
    let mut other = beside(&url).await;
    let id = session.0;
    run(&mut other, &format!("begin; select from sessions where id = '{id}' for update")).await;
    run(
        &mut other,
        &format!(
            "insert into outbox (event_id, tenant_id, shard, log, session_id, seq, type, version, occurred_at, data)
                select gen_random_uuid(), tenant_id, shard, 0, id, next_event_seq, 'message.queued', 1, 1, '{{}}'
                from sessions where id = '{id}';
             update sessions set next_event_seq = next_event_seq + 1 where id = '{id}'"
        ),
    )
    .await;
    let batch = [Write::Accept(world.message(session, "después")), Write::Stamp(world.fence, 64)];
    let store = world.store.clone();
    let owner = tokio::spawn(async move { store.commit(batch.into()).await });
    let mut watch = beside(&url).await;
    let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    let late = tokio::time::Instant::now() + Duration::from_secs(30);
    while count(&mut watch, waits).await == 0 {
        assert!(tokio::time::Instant::now() < late, "the owner does not wait for the session");
    }
    run(&mut other, "commit").await;
    let answers = owner.await.unwrap().unwrap();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    world.stamp(64).await;
    let seqs: Vec<_> = world.events(session, Log::DomainEvents).await.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, [1, 2, 3], "by position");
}
