//! A client that is not ours: Baileys from npm, unmodified but for its trust root and its address.
//!
//! It links to the sandbox, talks to a virtual phone, and exchanges texts and receipts with a Recado session in both
//! directions. `scripts/test foreign` installs its packages and runs these.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers are no tests to the linter"
)]

#[path = "it/app.rs"]
#[allow(dead_code, reason = "the other tests use the rest of it")]
mod app;
#[path = "foreign/baileys.rs"]
mod baileys;
#[path = "suite/invariants.rs"]
mod invariants;

use recado_sandbox::{Linked, Sandbox, SandboxConfig, ScanQr, SendText};
use serde_json::{Value, json};

use app::TestApp;
use baileys::Baileys;

/// Messages of a phone from before it was linked.
const PAST: usize = 7;

/// Baileys, linked by QR code to the account of this name.
async fn linked(sandbox: &Sandbox, name: &str) -> (Baileys, Linked) {
    let mut client = Baileys::start().await;
    client.connect(&sandbox.ws_url(), &sandbox.root_key(), name).await;
    let shown = client.until("a QR code", |said| said["event"] == "qr").await;
    let by = ScanQr { phone: None, name: Some(name.to_owned()) };
    let linked = sandbox.scan_qr(shown["qr"].as_str().unwrap(), by).await.unwrap();
    let connected = client.until("logged in", |said| said["event"] == "connected").await;
    assert_eq!(connected["jid"], format!("{}@s.whatsapp.net", linked.phone));
    assert!(connected["lid"].as_str().unwrap().starts_with(linked.lid.split('@').next().unwrap()));
    // A new companion waits for the phone's history before it shows anything that arrives after a reconnect.
    sandbox.history(&linked.phone, None, PAST).unwrap();
    let history = client.until("the history", |said| said["event"] == "history").await;
    assert_eq!(history["messages"], PAST);
    (client, linked)
}

/// A linked Baileys, and a friend whose companion has gone: a phone to talk with.
async fn pair(sandbox: &Sandbox) -> (Baileys, Linked, Linked) {
    let (mut companion, friend) = linked(sandbox, "Friend").await;
    companion.quit().await;
    let (client, own) = linked(sandbox, "Baileys").await;
    (client, own, friend)
}

fn text_of(to: &str, text: &str) -> SendText {
    SendText { to: to.into(), text: text.into(), id: None, reply_to: None, count: None, per_second: None }
}

fn is_text(said: &Value, text: &str) -> bool {
    said["event"] == "message" && said["text"] == text && said["fromMe"] == false
}

fn is_receipt(said: &Value, id: &Value, status: &str) -> bool {
    said["event"] == "receipt" && said["id"] == *id && said["status"] == status
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and the packages of tests/foreign/baileys; scripts/test runs it"]
async fn baileys_links_to_the_sandbox_and_talks_with_a_phone() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let (mut client, own, friend) = pair(&sandbox).await;

    // To the friend's phone, in clear there, and its receipts back.
    let id = client.send(&friend.phone, "hola, teléfono").await;
    let inbox = client.poll("the text at the phone", || {
        let inbox = sandbox.inbox(&friend.phone, 0, 100).unwrap();
        inbox.messages.into_iter().find(|message| message.message_id == id.as_str().unwrap())
    });
    let got = inbox.await;
    assert_eq!((got.text.as_deref(), got.copies), (Some("hola, teléfono"), 1));
    client.until("the phone has it", |said| is_receipt(said, &id, "delivered")).await;
    let chat = format!("{}@s.whatsapp.net", own.phone);
    assert!(sandbox.read(&friend.phone, &chat, &[]).unwrap() > 0);
    client.until("the phone read it", |said| is_receipt(said, &id, "read")).await;

    // From the phone: the companion says that it received it.
    let sent = sandbox.send(&friend.phone, text_of(&own.phone, "hola, Baileys")).await.unwrap();
    client.until("a text from the phone", |said| is_text(said, "hola, Baileys")).await;
    client
        .poll("its receipt", || {
            let page = sandbox.receipted(&own.phone, own.device_id, 0, 100).unwrap();
            page.ids.contains(&sent.ids[0]).then_some(())
        })
        .await;
    client.quit().await;
    drop(sandbox.stop().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and the packages of tests/foreign/baileys; scripts/test runs it"]
async fn what_was_sent_while_baileys_was_away_waits_for_it_in_order() {
    const TEXTS: usize = 50;
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let (mut client, own, friend) = pair(&sandbox).await;
    client.order(&json!({"do": "leave"})).await;
    client.until("gone", |said| said["event"] == "closed" && said["code"] != 515).await;
    let mut burst = text_of(&own.phone, "while away");
    burst.count = Some(TEXTS);
    let sent = sandbox.send(&friend.phone, burst).await.unwrap();
    assert_eq!(sent.ids.len(), TEXTS);

    client.order(&json!({"do": "resume"})).await;
    let last = sent.ids.last().unwrap().as_str();
    client.until("the last text", |said| said["event"] == "message" && said["id"] == last).await;
    let news = client.said.iter().filter(|said| said["event"] == "message" && said["fromMe"] == false);
    let ids: Vec<&str> = news.map(|said| said["id"].as_str().unwrap()).collect();
    assert_eq!(ids, sent.ids, "not each once in the order they were sent");
    client
        .poll("a receipt for each", || {
            let page = sandbox.receipted(&own.phone, own.device_id, 0, 1000).unwrap();
            sent.ids.iter().all(|id| page.ids.contains(id)).then_some(())
        })
        .await;
    client.quit().await;
    drop(sandbox.stop().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and the packages of tests/foreign/baileys; scripts/test runs it"]
async fn baileys_and_a_recado_session_exchange_texts_and_receipts() {
    let app = TestApp::start().await;
    let recado = app.link("Recado").await;
    let (mut client, own) = linked(app.sandbox(), "Baileys").await;

    for round in 0..3 {
        // Baileys to Recado.
        let text = format!("from Baileys {round}");
        let id = client.send(&recado.phone, &text).await;
        app.until("message.received", async || {
            let events = app.events("&type=message.received").await;
            events.into_iter().find(|event| event["data"]["waMessageId"] == id)
        })
        .await;
        client.until("Recado has it", |said| is_receipt(said, &id, "delivered")).await;
        let chat = format!("{}@s.whatsapp.net", own.phone);
        app.sandbox().read(&recado.phone, &chat, &[]).unwrap();
        client.until("Recado's person read it", |said| is_receipt(said, &id, "read")).await;

        // Recado to Baileys.
        let text = format!("from Recado {round}");
        let message = app.send(&recado, &own.phone, &text).await;
        let seen = client.until("a text from Recado", |said| is_text(said, &text)).await;
        app.message(&message, &["delivered", "read"]).await;
        client.order(&json!({"do": "read", "chat": seen["chat"], "id": seen["id"]})).await;
        app.message(&message, &["read"]).await;
    }
    let texts =
        client.said.iter().filter(|said| said["event"] == "message" && said["fromMe"] == false).count();
    assert_eq!(texts, 3, "Baileys saw a text more or less than once");
    assert_eq!(
        app.events("&type=message.received").await.len(),
        3,
        "Recado saw a text more or less than once"
    );
    client.quit().await;
}
