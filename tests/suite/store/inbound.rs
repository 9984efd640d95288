//! What comes in is stored once.

use recado::domain::content::Content;
use recado::domain::event::Log;
use recado::domain::ids::{TenantId, WaId};
use recado::domain::message::{Direction, MessageState};
use recado::domain::write::Write;
use serde_json::json;

use super::world::World;
use crate::invariants::Open;

pub async fn a_batch_replayed_three_times_with_halves_mixed_is_stored_once(world: World) {
    let session = world.session().await;
    let messages: Vec<_> = (0..100)
        .map(|n| world.received(Some(&format!("1555010{:04}", n % 7)), None, &format!("message {n}")))
        .collect();
    let half = |n: usize| messages.iter().skip(n).step_by(2).cloned().collect::<Vec<_>>();
    let ledgers = world.ledgers().await;
    ledgers.write(world.inbound(session, half(0))).await.unwrap();
    ledgers.write(world.inbound(session, messages.clone())).await.unwrap();
    let mut mixed = half(1);
    mixed.extend(half(0));
    ledgers.write(world.inbound(session, mixed.clone())).await.unwrap();
    // And all of it twice in one transaction.
    let batch = [world.inbound(session, messages.clone()), world.inbound(session, mixed)];
    assert!(world.store.commit(batch.into()).await.unwrap().iter().all(Result::is_ok));
    let mut stored = 0;
    for person in 0..7 {
        stored += world.chat(session, &format!("1555010{person:04}")).await.len();
    }
    assert_eq!(stored, 100);
    let story = world.story(session).await;
    assert_eq!(story.iter().filter(|kind| *kind == "message.received").count(), 100);
    world.check(Open::Refused).await;
}

pub async fn what_came_in_is_shown_with_chat_and_sender(world: World) {
    let session = world.session().await;
    let message = world.received(Some("15550100199"), Some("77@lid"), "hola");
    world.done(world.inbound(session, vec![message.clone()])).await;
    let event = world.events(session, Log::DomainEvents).await.pop().unwrap();
    let view = world.chat(session, "77@lid").await.remove(0);
    let (pn, lid) = ("15550100199@s.whatsapp.net", "77@lid");
    assert_eq!(event.kind, "message.received");
    assert_eq!(
        event.data,
        json!({
            "messageId": view.message_id, "waMessageId": message.wa_id,
            "chat": {"id": pn, "pn": pn, "lid": lid},
            "from": {"pn": pn, "lid": lid, "pushName": "Ana"},
            "fromMe": false, "content": {"type": "text", "text": "hola"}, "timestamp": message.sent_at,
        })
    );
    assert_eq!((view.direction, view.state), (Direction::In, MessageState::Delivered));
    assert_eq!((view.chat.as_str(), view.sender.as_deref()), (pn, Some(pn)));
    assert_eq!(view.timestamp, message.sent_at);
    let chats = world.store.chats(world.tenant, Some(session), super::world::page(10)).await.unwrap();
    assert_eq!(chats.items[0].name.as_deref(), Some("Ana"));
}

pub async fn what_came_in_is_known_by_its_id_to_its_session_alone(world: World) {
    let (session, other) = (world.session().await, world.session().await);
    let message = world.received(Some("15550100199"), None, "hola");
    world.done(world.inbound(session, vec![message.clone()])).await;
    let knows = async |tenant, session, id: &str| {
        world.store.has_message(tenant, session, &WaId(id.to_owned())).await.unwrap()
    };
    assert!(knows(world.tenant, session, &message.wa_id.0).await);
    assert!(!knows(world.tenant, session, "3EB0NEVERSEEN").await);
    assert!(!knows(world.tenant, other, &message.wa_id.0).await);
    assert!(!knows(TenantId::new(), session, &message.wa_id.0).await);
}

pub async fn a_message_from_another_device_is_sent_not_received(world: World) {
    let session = world.session().await;
    let mut message = world.received(Some("15550100199"), None, "from my phone");
    message.direction = Direction::Out;
    message.push_name = Some("Me".to_owned());
    world.done(world.inbound(session, vec![message.clone()])).await;
    let event = world.events(session, Log::DomainEvents).await.pop().unwrap();
    assert_eq!(event.kind, "message.sent");
    assert_eq!(
        (&event.data.value()["source"], &event.data.value()["fromMe"]),
        (&"device".into(), &true.into())
    );
    let view = world.chat(session, "15550100199").await.remove(0);
    assert_eq!((view.direction, view.state, view.sender), (Direction::Out, MessageState::Sent, None));
    let chats = world.store.chats(world.tenant, Some(session), super::world::page(10)).await.unwrap();
    assert_eq!(chats.items[0].name, None, "a chat is not named after ourselves");
    // Its receipts are told like any other's.
    world.done(world.progress(session, &message.wa_id, &[MessageState::Read])).await;
    assert_eq!(world.story(session).await.last().unwrap(), "message.read");
}

pub async fn our_own_message_coming_back_is_not_a_second_one(world: World) {
    let session = world.session().await;
    let accept = world.message_to(session, "15550100199", "hola");
    world.accept(&accept).await.unwrap();
    world.take(session, 1).await;
    let mut echo = world.received(Some("15550100199"), Some("77@lid"), "hola");
    echo.direction = Direction::Out;
    echo.wa_id = accept.message.unwrap().wa_id;
    world.done(world.inbound(session, vec![echo])).await;
    assert_eq!(world.chat(session, "15550100199").await.len(), 1);
    assert_eq!(world.story(session).await, ["session.created", "message.queued"]);
}

pub async fn the_same_id_from_two_writers_of_a_group_is_two_messages(world: World) {
    let session = world.session().await;
    let one = {
        let mut message = world.received(Some("15550100199"), Some("77@lid"), "one");
        message.chat_pn = Some("120363@g.us".parse().unwrap());
        message.chat_lid = None;
        message
    };
    let mut two = one.clone();
    two.sender_lid = Some("78@lid".parse().unwrap());
    two.sender_pn = None;
    for _ in 0..2 {
        world.done(world.inbound(session, vec![one.clone(), two.clone()])).await;
    }
    let views = world.chat(session, "120363@g.us").await;
    assert_eq!(views.len(), 2);
    let chats = world.store.chats(world.tenant, Some(session), super::world::page(10)).await.unwrap();
    assert_eq!(
        (chats.items[0].name.clone(), chats.items[0].pn.clone()),
        (None, None),
        "a group has no phone"
    );
}

pub async fn a_text_that_grows_as_json_still_makes_an_event(world: World) {
    let session = world.session().await;
    let text = "\u{1}".repeat(65_536);
    let message = world.received(Some("15550100199"), None, &text);
    world.done(world.inbound(session, vec![message])).await;
    let event = world.events(session, Log::DomainEvents).await.pop().unwrap();
    assert!(event.data.as_str().len() <= recado::domain::event::DATA_LIMIT);
    assert_eq!(
        (&event.data.value()["content"]["truncated"], &event.data.value()["fromMe"]),
        (&true.into(), &false.into())
    );
    let view = world.chat(session, "15550100199").await.remove(0);
    assert_eq!(view.content, Content::Text { text, reply_to: None }, "the whole text stays with the message");
}

pub async fn a_message_without_an_address_holds_up_no_other(world: World) {
    let session = world.session().await;
    let nowhere = world.received(None, None, "lost");
    let fine = world.received(Some("15550100199"), None, "hola");
    world
        .done(Write::Inbound(match world.inbound(session, vec![nowhere, fine]) {
            Write::Inbound(inbound) => inbound,
            other => panic!("{other:?}"),
        }))
        .await;
    assert_eq!(world.story(session).await, ["session.created", "message.received"]);
}
