//! Messages: out with receipts, in with events, refusals, and what a cut link does to none of them.

use recado_sandbox::{FaultKind, FaultSpec};
use serde_json::json;

use crate::app::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn a_text_travels_out_up_to_read_and_an_answer_comes_in() {
    let app = TestApp::start().await;
    let (ana, bruno) = (app.link("Ana").await, app.link("Bruno").await);
    let id = app.send(&ana, &bruno.phone, "hola").await;
    app.message(&id, &["delivered"]).await;
    app.sandbox().read(&bruno.phone, &ana.phone, &[]).unwrap();
    let message = app.message(&id, &["read"]).await;
    assert_eq!(message["content"]["text"], "hola");
    let inbox = app.sandbox().inbox(&bruno.phone, 0, 10).unwrap();
    assert_eq!(inbox.messages.len(), 1);
    app.phone_sends(&bruno.phone, &ana.phone, "¡buenas!").await;
    let received = app
        .until("the answer", async || {
            let events = app.events(&format!("&sessionId={}&type=message.received", ana.session)).await;
            events.into_iter().next()
        })
        .await;
    assert_eq!(received["data"]["content"]["text"], "¡buenas!");
    let chats = app.get(&format!("/chats?sessionId={}", ana.session)).await;
    let chat = chats["items"][0]["jid"].as_str().unwrap().to_owned();
    let page = app.get(&format!("/chats/{chat}/messages?sessionId={}", ana.session)).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 2, "both directions are one chat: {page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_message_come_in_order_and_each_once() {
    let app = TestApp::start().await;
    let (ana, bruno) = (app.link("Ana").await, app.link("Bruno").await);
    let id = app.send(&ana, &bruno.phone, "uno").await;
    app.message(&id, &["delivered"]).await;
    let events = app.events(&format!("&sessionId={}", ana.session)).await;
    let kinds: Vec<_> = events
        .iter()
        .filter(|event| event["data"]["messageId"] == json!(id))
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    // On a busy machine the phone's receipt may overtake WhatsApp's acknowledgement; "delivered" then says both.
    let told = [
        &["message.queued", "message.sent", "message.delivered"][..],
        &["message.queued", "message.delivered"],
    ];
    assert!(told.contains(&&kinds[..]), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_whatsapp_ends_the_message_with_its_code() {
    let app = TestApp::start().await;
    let (ana, bruno) = (app.link("Ana").await, app.link("Bruno").await);
    app.phone_sends(&bruno.phone, &ana.phone, "hola").await;
    app.until("the message of the phone", async || {
        let events = app.events(&format!("&sessionId={}&type=message.received", ana.session)).await;
        (!events.is_empty()).then_some(())
    })
    .await;
    let nack = FaultSpec {
        phone: Some(ana.phone.clone()),
        times: Some(1),
        code: Some(463),
        ..FaultSpec::new(FaultKind::Nack)
    };
    app.sandbox().add_fault(nack).unwrap();
    let id = app.send(&ana, &bruno.phone, "no").await;
    let failed = app.message(&id, &["failed"]).await;
    assert_eq!(failed["code"], "nack_463");
    // The chat is known: what rests after 463 by default does not concern it.
    let next = app.send(&ana, &bruno.phone, "yes").await;
    app.message(&next, &["delivered"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_accepted_while_the_link_is_cut_arrive_in_order_once() {
    let app = TestApp::start().await;
    let (ana, bruno) = (app.link("Ana").await, app.link("Bruno").await);
    let cut = FaultSpec { phone: Some(ana.phone.clone()), ..FaultSpec::new(FaultKind::Drop) };
    app.sandbox().add_fault(cut).unwrap();
    let mut ids = Vec::new();
    for i in 0..20 {
        ids.push(app.send(&ana, &bruno.phone, &format!("n{i}")).await);
    }
    for id in &ids {
        app.message(id, &["delivered", "read"]).await;
    }
    let inbox = app.sandbox().inbox(&bruno.phone, 0, 100).unwrap();
    let texts: Vec<_> = inbox.messages.iter().map(|message| message.text.clone()).collect();
    let wanted: Vec<_> = (0..20).map(|i| Some(format!("n{i}"))).collect();
    assert_eq!(texts, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_sent_to_a_stopped_service_are_there_after_its_start() {
    let mut app = TestApp::start().await;
    let (ana, bruno) = (app.link("Ana").await, app.link("Bruno").await);
    app.restart().await;
    app.phone_sends(&bruno.phone, &ana.phone, "while you were away").await;
    app.state(&ana.session, "connected").await;
    app.until("the message", async || {
        let events = app.events(&format!("&sessionId={}&type=message.received", ana.session)).await;
        (events.len() == 1).then_some(())
    })
    .await;
    let id = app.send(&ana, &bruno.phone, "back").await;
    app.message(&id, &["delivered"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_idempotency_key_sends_once_and_answers_the_same() {
    let app = TestApp::start().await;
    let (ana, bruno) = (app.link("Ana").await, app.link("Bruno").await);
    let path = format!("/sessions/{}/messages", ana.session);
    let body = json!({"to": bruno.phone, "content": {"type": "text", "text": "once"}});
    let calls =
        (0..20).map(|_| app.call_with("POST", &path, Some(body.clone()), &[("idempotency-key", "k1")]));
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|answer| answer.status == 202 && answer.body == answers[0].body));
    let replayed = answers.iter().filter(|answer| answer.headers.contains_key("idempotent-replayed"));
    assert_eq!(replayed.count(), 19);
    let other = json!({"to": bruno.phone, "content": {"type": "text", "text": "twice"}});
    let reused = app.call_with("POST", &path, Some(other), &[("idempotency-key", "k1")]).await;
    assert_eq!((reused.status, reused.body["code"].as_str()), (409, Some("idempotency_key_reused")));
    let id = answers[0].body["messageId"].as_str().unwrap();
    app.message(id, &["delivered"]).await;
    assert_eq!(app.sandbox().inbox(&bruno.phone, 0, 10).unwrap().total, 1);
}
