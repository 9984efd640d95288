//! The queue of a session, and what becomes of its messages.

use recado::domain::command::CommandType;
use recado::domain::event::Log;
use recado::domain::ids::{MessageId, WaId};
use recado::domain::message::MessageState::{self, Delivered, Failed, Queued, Read, Sending, Sent};
use recado::domain::time::now;
use recado::domain::write::{Finish, Outcome, Sweep, Take, Write};

use super::world::{World, later};
use crate::invariants::Open;

pub async fn commands_are_taken_once_and_in_order(world: World) {
    let session = world.session().await;
    let messages = world.accepted(session, 5).await;
    let mut seen = Vec::new();
    for limit in [2, 2, 2] {
        let taken = world.take(session, limit).await;
        seen.extend(taken.into_iter().map(|taken| (taken.seq, taken.message.unwrap())));
    }
    let ids: Vec<_> = seen.iter().map(|(_, message)| message.id).collect();
    assert_eq!(ids, messages.iter().map(|message| message.id).collect::<Vec<_>>());
    assert_eq!(seen.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let (first, accepted) = (&seen[0].1, &messages[0]);
    assert_eq!((&first.wa_id, &first.to, &first.content), (&accepted.wa_id, &accepted.to, &accepted.content));
    assert_eq!(first.deadline, accepted.deadline);
    assert_eq!(world.message_view(messages[0].id).await.state, Sending);
    assert!(world.take(session, 10).await.is_empty());
}

pub async fn two_takes_in_one_batch_share_nothing(world: World) {
    let (one, two) = (world.session().await, world.session().await);
    for session in [one, two] {
        world.accepted(session, 3).await;
    }
    let takes = [world.taking(one, 2), world.taking(one, 2), world.taking(two, 5)];
    let answers = world.store.commit(takes.map(Write::Take).into()).await.unwrap();
    let counts: Vec<_> = answers
        .into_iter()
        .map(|answer| match answer.unwrap() {
            Outcome::Taken(taken) => taken.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(counts[2], 3);
    assert_eq!(counts[0] + counts[1] + world.take(one, 10).await.len(), 3);
}

pub async fn without_a_link_only_lifecycle_commands_are_taken(world: World) {
    let session = world.session().await;
    world.accepted(session, 2).await;
    world.accept(&world.command(session, CommandType::Reconnect)).await.unwrap();
    let taken = world.take_with(Take { lifecycle_only: true, ..world.taking(session, 10) }).await;
    assert_eq!(
        taken.iter().map(|taken| (taken.kind, taken.seq)).collect::<Vec<_>>(),
        [(CommandType::Reconnect, 3)]
    );
    assert_eq!(world.take(session, 10).await.len(), 2);
}

pub async fn what_was_taken_can_be_put_back(world: World) {
    let session = world.session().await;
    let messages = world.accepted(session, 3).await;
    world.take(session, 2).await;
    world.done(world.progress(session, &messages[0].wa_id, &[Sent])).await;
    world.done(Write::Requeue(world.fence, session)).await;
    let again: Vec<_> = world.take(session, 10).await.into_iter().map(|taken| taken.seq).collect();
    assert_eq!(again, [2, 3], "the sent one does not come back");
    assert_eq!(world.message_view(messages[1].id).await.state, Sending);
}

pub async fn only_lifecycle_commands_are_finished_without_their_message(world: World) {
    let session = world.session().await;
    world.accepted(session, 1).await;
    world.accept(&world.command(session, CommandType::Stop)).await.unwrap();
    let commands: Vec<_> = world.take(session, 10).await.into_iter().map(|taken| taken.command).collect();
    let finish = Finish { fence: world.fence, session, commands };
    for _ in 0..2 {
        world.done(Write::Finish(finish.clone())).await;
        assert_eq!(world.view(session).await.queued, 1, "the message is still to be sent");
    }
    world.done(Write::Requeue(world.fence, session)).await;
    assert_eq!(world.take(session, 10).await[0].kind, CommandType::SendMessage);
}

pub async fn a_message_only_moves_up_whatever_the_order_of_the_news(world: World) {
    let session = world.session().await;
    let messages = world.accepted(session, 3).await;
    world.take(session, 10).await;
    let told = async |n: usize, states: &[MessageState]| {
        world.done(world.progress(session, &messages[n].wa_id, states)).await;
        world.message_view(messages[n].id).await.state
    };
    assert_eq!(told(0, &[Sent]).await, Sent);
    assert_eq!(world.view(session).await.queued, 2);
    assert_eq!(told(0, &[Sent, Read]).await, Read);
    assert_eq!(told(0, &[Delivered, Sent]).await, Read);
    // A receipt that overtakes the acknowledgement ends the command all the same.
    assert_eq!(told(1, &[Delivered]).await, Delivered);
    assert_eq!(told(1, &[Sent]).await, Delivered);
    // In one batch the acknowledgement is told before the receipt.
    assert_eq!(told(2, &[Delivered, Sent]).await, Delivered);
    assert_eq!(world.view(session).await.queued, 0);
    let story = world.story(session).await;
    let expected = ["message.sent", "message.read", "message.delivered", "message.sent", "message.delivered"];
    assert_eq!(story[4..], expected);
    world.check(Open::Refused).await;
}

pub async fn a_failed_message_says_why_and_stays_failed(world: World) {
    let session = world.session().await;
    let message = world.accepted(session, 1).await.remove(0);
    world.take(session, 1).await;
    world.done(world.progress(session, &message.wa_id, &[Failed])).await;
    world.done(world.progress(session, &message.wa_id, &[Sent, Read, Failed])).await;
    let view = world.message_view(message.id).await;
    assert_eq!((view.state, view.code.as_deref()), (Failed, Some("refused")));
    assert_eq!(view.failure.as_deref(), Some("WhatsApp refused it"));
    let event = world.events(session, Log::DomainEvents).await.pop().unwrap();
    assert_eq!(event.kind, "message.failed");
    assert_eq!(
        (&event.data.value()["code"], &event.data.value()["status"]),
        (&"refused".into(), &"failed".into())
    );
    assert_eq!(event.data.value()["messageId"], message.id.to_string());
    assert_eq!(world.view(session).await.queued, 0);
    world.check(Open::Refused).await;
}

pub async fn an_acknowledged_message_cannot_fail(world: World) {
    let session = world.session().await;
    let message = world.accepted(session, 1).await.remove(0);
    world.take(session, 1).await;
    world.done(world.progress(session, &message.wa_id, &[Failed, Sent])).await;
    world.done(world.progress(session, &message.wa_id, &[Failed])).await;
    assert_eq!(world.message_view(message.id).await.state, Sent);
    assert_eq!(world.view(session).await.queued, 0);
}

pub async fn news_of_an_unknown_message_is_no_news(world: World) {
    let session = world.session().await;
    let unknown = WaId::of(MessageId::new());
    world.done(world.progress(session, &unknown, &[Sent, Read])).await;
    // Nor may another session's news move a message.
    let other = world.session().await;
    let message = world.accepted(other, 1).await.remove(0);
    world.done(world.progress(session, &message.wa_id, &[Sent])).await;
    assert_eq!(world.message_view(message.id).await.state, Queued);
    assert_eq!(world.story(session).await, ["session.created"]);
}

pub async fn overdue_messages_fail_in_bounded_steps(world: World) {
    let session = world.session().await;
    let mut overdue = Vec::new();
    for n in 0..5 {
        let mut accept = world.message(session, "hola");
        let message = accept.message.as_mut().unwrap();
        message.deadline = later(if n == 2 { 60_000 } else { -1 });
        overdue.push(message.clone());
        world.accept(&accept).await.unwrap();
    }
    world.take(session, 1).await;
    let sent = world.take(session, 1).await.remove(0).message.unwrap();
    world.done(world.progress(session, &sent.wa_id, &[Sent])).await;
    let sweep = Sweep { fence: world.fence, at: now(), keys_before: later(-60_000), limit: 2 };
    let mut swept = Vec::new();
    for _ in 0..3 {
        match world.write(Write::Sweep(sweep.clone())).await.unwrap() {
            Outcome::Swept(count) => swept.push(count),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(swept, [2, 1, 0]);
    let mut states = Vec::new();
    for message in &overdue {
        states.push(world.message_view(message.id).await.state);
    }
    assert_eq!(states, [Failed, Sent, Queued, Failed, Failed]);
    assert_eq!(world.message_view(overdue[0].id).await.code.as_deref(), Some("deadline_passed"));
    assert_eq!(world.view(session).await.queued, 1);
    assert_eq!(world.take(session, 10).await.len(), 1, "what failed is not sent any more");
    assert_eq!(world.story(session).await.iter().filter(|kind| *kind == "message.failed").count(), 3);
}
