//! Texts both ways with acks and receipts, between clients and phones.

use whatsapp_rust::prelude::*;
use whatsapp_rust::types::presence::ReceiptType;

use crate::support::{TestClient, inbox, linked, sandbox, text, until, within};

/// Waits for a receipt of one of these types about a message.
async fn receipt(client: &TestClient, id: &str, kinds: &[ReceiptType]) {
    client
        .event("a receipt", |e| match e {
            Event::Receipt(r) if r.message_ids.iter().any(|i| i == id) && kinds.contains(&r.r#type) => {
                Some(())
            }
            _ => None,
        })
        .await;
}

#[tokio::test]
async fn a_text_reaches_the_other_client_both_phones_and_comes_back_as_receipts() {
    let sandbox = sandbox().await;
    let (a, from) = linked(&sandbox).await;
    let (b, to) = linked(&sandbox).await;
    a.send(&to.phone, "HELLO1", "hello").await;
    let (id, body, _) = b.message().await;
    assert_eq!((id.as_str(), body.as_str()), ("HELLO1", "hello"));
    a.event("an ack", |e| match e {
        Event::ServerAck(ack) if ack.id == "HELLO1" => {
            assert!(ack.error.is_none(), "{:?}", ack.error);
            Some(())
        }
        _ => None,
    })
    .await;
    let there = inbox(&sandbox, &to.phone, 1).await;
    assert_eq!((there[0].text.as_deref(), there[0].from.as_str()), (Some("hello"), from.phone.as_str()));
    let own = inbox(&sandbox, &from.phone, 1).await;
    assert!(own[0].from_me && own[0].chat == to.phone, "{:?}", own[0]);
}

#[tokio::test]
async fn delivered_and_read_receipts_come_back() {
    let sandbox = sandbox().await;
    let (a, _) = linked(&sandbox).await;
    let (_b, to) = linked(&sandbox).await;
    a.send(&to.phone, "R1", "read me").await;
    receipt(&a, "R1", &[ReceiptType::Delivered, ReceiptType::Inactive]).await;
    let a_phone = sandbox.accounts()[0].phone.clone();
    until("the phone has it", || (sandbox.inbox(&to.phone, 0, 9).unwrap().total == 1).then_some(())).await;
    assert_eq!(sandbox.read(&to.phone, &a_phone, &[]).unwrap(), 1);
    receipt(&a, "R1", &[ReceiptType::Read]).await;
    sandbox.auto_read(&to.phone, true).unwrap();
    a.send(&to.phone, "R2", "read me at once").await;
    receipt(&a, "R2", &[ReceiptType::Read]).await;
}

#[tokio::test]
async fn a_phone_writes_and_types_and_the_client_sees_it() {
    let sandbox = sandbox().await;
    let (a, mine) = linked(&sandbox).await;
    let (_b, theirs) = linked(&sandbox).await;
    let sent = sandbox.send(&theirs.phone, text(&mine.phone, "from a thumb")).await.unwrap();
    let (id, body, _) = a.message().await;
    assert_eq!((&id, body.as_str()), (&sent.ids[0], "from a thumb"));
    sandbox.typing(&theirs.phone, &mine.phone, recado_sandbox::Typing::Composing).unwrap();
    a.event("typing", |e| matches!(e, Event::ChatPresence(_)).then_some(())).await;
    until("the message is receipted", || {
        let page = sandbox.receipted(&mine.phone, mine.device_id, 0, 10).unwrap();
        page.ids.contains(&id).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_phone_writes_to_itself_shows_on_its_companion() {
    let sandbox = sandbox().await;
    let (a, mine) = linked(&sandbox).await;
    let (_b, theirs) = linked(&sandbox).await;
    // The sender's own companion gets a copy, in the chat with the other side.
    sandbox.send(&mine.phone, text(&theirs.phone, "I wrote this")).await.unwrap();
    let (body, from_me, chat) = a
        .event("an own message", |e| {
            e.messages().find_map(|m| {
                let text = m
                    .message
                    .conversation
                    .clone()
                    .or_else(|| m.message.extended_text_message.text.clone())?;
                Some((text, m.info.source.is_from_me, m.info.source.chat.clone()))
            })
        })
        .await;
    assert_eq!((body.as_str(), from_me), ("I wrote this", true));
    let user = chat.user.as_str();
    assert!(user == theirs.phone || user == theirs.lid, "{chat}");
}

#[tokio::test]
async fn messages_for_an_absent_client_wait_and_come_in_order() {
    let sandbox = sandbox().await;
    let (mut a, mine) = linked(&sandbox).await;
    let (_b, theirs) = linked(&sandbox).await;
    sandbox.send(&theirs.phone, text(&mine.phone, "first")).await.unwrap();
    a.message().await;
    a.hang_up().await;
    until("offline", || (!sandbox.accounts()[0].devices[0].online).then_some(())).await;

    let order = recado_sandbox::SendText { count: Some(40), id: Some("Q".into()), ..text(&mine.phone, "n") };
    let sent = sandbox.send(&theirs.phone, order).await.unwrap();
    let queued = sandbox.accounts()[0].devices[0].queued;
    assert!(queued >= 40, "{queued}");

    let mut again = TestClient::again(&sandbox, a).await;
    again.run();
    let mut seen = Vec::new();
    while seen.len() < 40 {
        seen.extend(
            again
                .event("offline messages", |e| {
                    let ids: Vec<String> = e.messages().map(|m| m.info.id.to_string()).collect();
                    (!ids.is_empty()).then_some(ids)
                })
                .await,
        );
    }
    assert_eq!(seen, sent.ids);
    until("an empty queue", || (sandbox.accounts()[0].devices[0].queued == 0).then_some(())).await;
}

#[tokio::test]
async fn a_subscriber_learns_that_somebody_comes() {
    let sandbox = sandbox().await;
    let (a, _) = linked(&sandbox).await;
    let (_b, theirs) = linked(&sandbox).await;
    let jid: Jid = format!("{}@s.whatsapp.net", theirs.phone).parse().unwrap();
    within("available", a.client.presence().set_available()).await.unwrap();
    within("subscribing", a.client.presence().subscribe(&jid)).await.unwrap();
    let next = |there: bool| {
        a.event("presence", move |e| match e {
            Event::Presence(p) if p.unavailable != there => Some(()),
            _ => None,
        })
    };
    next(false).await;
    sandbox.presence(&theirs.phone, true).unwrap();
    next(true).await;
    sandbox.presence(&theirs.phone, false).unwrap();
    next(false).await;
}

#[tokio::test]
async fn history_reaches_a_companion() {
    let sandbox = sandbox().await;
    let (a, mine) = linked(&sandbox).await;
    assert!(sandbox.history(&mine.phone, None, 20).unwrap() >= 1);
    a.event("history", |e| matches!(e, Event::HistorySync(_)).then_some(())).await;
}
