//! Sessions that send no more than they may: what waits says so and until when, and goes by itself when it may.

use std::time::Duration;

use recado::domain::pacing::Rules;
use recado_sandbox::{FaultKind, FaultSpec};
use serde_json::Value;

use crate::app::{Account, TestApp};

/// From now on WhatsApp lets this account write only to accounts that it has spoken with.
fn locked(app: &TestApp, account: &Account) {
    let lock = FaultSpec { phone: Some(account.phone.clone()), ..FaultSpec::new(FaultKind::NackStrangers) };
    app.sandbox().add_fault(lock).unwrap();
}

/// A phone wrote to an account, and that is stored.
async fn spoken(app: &TestApp, phone: &str, to: &Account) {
    app.phone_sends(phone, &to.phone, "hola").await;
    let query = format!("&sessionId={}&type=message.received", to.session);
    app.until("the message of the phone", async || {
        let events = app.events(&query).await;
        events.iter().any(|event| event["data"].to_string().contains(phone)).then_some(())
    })
    .await;
}

/// A message that waits, with its code.
async fn waiting(app: &TestApp, id: &str) -> Value {
    let message = app.get(&format!("/messages/{id}")).await;
    assert_eq!(message["state"], "queued", "{message}");
    assert!(message["notBefore"].is_string(), "{message}");
    message
}

fn texts(app: &TestApp, account: &Account) -> Vec<String> {
    let inbox = app.sandbox().inbox(&account.phone, 0, 100).unwrap();
    inbox.messages.into_iter().filter(|message| !message.from_me).filter_map(|message| message.text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_463_new_chats_wait_also_over_a_restart_and_known_ones_go_on() {
    let rules = Rules { cool_down: Duration::from_secs(3600), ..Rules::default() };
    let mut app = TestApp::paced(rules).await;
    let ana = app.link("Ana").await;
    let (bruno, carla, dora) = (app.link("Bruno").await, app.link("Carla").await, app.link("Dora").await);
    spoken(&app, &bruno.phone, &ana).await;
    locked(&app, &ana);
    let refused = app.send(&ana, &carla.phone, "no").await;
    let refused = app.message(&refused, &["failed"]).await;
    assert_eq!(refused["code"], "nack_463");
    assert!(refused["failure"].as_str().unwrap().contains("new chats"), "{refused}");
    let first = app.send(&ana, &dora.phone, "one").await;
    let known = app.send(&ana, &bruno.phone, "known").await;
    app.message(&known, &["delivered", "read"]).await;
    let waits = waiting(&app, &first).await;
    assert_eq!(waits["code"], "paced_cool_down");
    let pacing = app.get(&format!("/sessions/{}/pacing", ana.session)).await;
    assert_eq!(pacing["coolDown"]["until"], waits["notBefore"], "{pacing}");
    assert_eq!((&pacing["coolDown"]["inARow"], &pacing["newChatWaits"]["code"]), (&1.into(), &waits["code"]));
    assert!(pacing["waits"].is_null() && pacing["messages"]["limit"].is_null(), "{pacing}");

    app.restart().await;
    app.state(&ana.session, "connected").await;
    let second = app.send(&ana, &dora.phone, "two").await;
    let known = app.send(&ana, &bruno.phone, "known too").await;
    app.message(&known, &["delivered", "read"]).await;
    assert_eq!(waiting(&app, &first).await["notBefore"], waits["notBefore"], "the tables remember");
    assert_eq!(waiting(&app, &second).await["code"], "paced_cool_down");

    // Whoever writes to the account has begun the chat.
    spoken(&app, &dora.phone, &ana).await;
    for id in [&first, &second] {
        let sent = app.message(id, &["delivered", "read"]).await;
        assert!(sent["notBefore"].is_null() && sent["code"].is_null(), "{sent}");
    }
    assert_eq!(texts(&app, &dora), ["one", "two"], "in order");
    let refusals = app.http.get(format!("{}/metrics", app.base)).send().await.unwrap().text().await.unwrap();
    assert!(refusals.contains("sends_refused_total{code=\"463\"}"), "{refusals}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_cool_down_is_over_what_waited_goes_by_itself() {
    let app = TestApp::paced(Rules { cool_down: Duration::from_secs(10), ..Rules::default() }).await;
    let (ana, carla, dora) = (app.link("Ana").await, app.link("Carla").await, app.link("Dora").await);
    locked(&app, &ana);
    let refused = app.send(&ana, &carla.phone, "no").await;
    app.message(&refused, &["failed"]).await;
    app.sandbox().clear_faults();
    let mut ids = Vec::new();
    for (to, text) in [(&dora, "one"), (&carla, "again"), (&dora, "two")] {
        ids.push(app.send(&ana, &to.phone, text).await);
    }
    waiting(&app, &ids[0]).await;
    for id in &ids {
        app.message(id, &["delivered", "read"]).await;
    }
    assert_eq!(texts(&app, &dora), ["one", "two"]);
    assert_eq!(texts(&app, &carla), ["again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn daily_allowances_are_shown_and_kept() {
    let rules = Rules { new_chats_per_day: Some(1), per_day: Some(3), ..Rules::default() };
    let mut app = TestApp::paced(rules).await;
    app.unfinished = true;
    let ana = app.link("Ana").await;
    let (bruno, carla, dora) = (app.link("Bruno").await, app.link("Carla").await, app.link("Dora").await);
    spoken(&app, &bruno.phone, &ana).await;
    let begun = app.send(&ana, &carla.phone, "one").await;
    app.message(&begun, &["delivered", "read"]).await;
    let held = app.send(&ana, &dora.phone, "two").await;
    let known = app.send(&ana, &bruno.phone, "three").await;
    app.message(&known, &["delivered", "read"]).await;
    let waits = waiting(&app, &held).await;
    assert_eq!(waits["code"], "paced_new_chats");
    let third = app.send(&ana, &bruno.phone, "four").await;
    app.message(&third, &["delivered", "read"]).await;
    let fourth = app.send(&ana, &bruno.phone, "five").await;
    let pacing = app.get(&format!("/sessions/{}/pacing", ana.session)).await;
    assert_eq!(pacing["messages"], serde_json::json!({"used": 3, "limit": 3, "left": 0}));
    assert_eq!(pacing["newChats"], serde_json::json!({"used": 1, "limit": 1, "left": 0}));
    assert_eq!(
        (&pacing["waits"]["code"], &pacing["waits"]["notBefore"]),
        (&"paced_rate".into(), &pacing["resetsAt"])
    );
    let waits = waiting(&app, &fourth).await;
    assert_eq!((&waits["code"], &waits["notBefore"]), (&"paced_rate".into(), &pacing["resetsAt"]));
    // What it is told to do with its life does not wait, and neither does what stops it lose anything.
    let stop =
        app.call("POST", &format!("/sessions/{}/stop", ana.session), Some(serde_json::json!({}))).await;
    assert_eq!(stop.status, 202);
    app.state(&ana.session, "stopped").await;
    waiting(&app, &held).await;
    assert_eq!(texts(&app, &bruno), ["three", "four"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_spreads_what_was_accepted_at_once() {
    let app = TestApp::paced(Rules { per_minute: Some(60), ..Rules::default() }).await;
    let (ana, bruno) = (app.link("Ana").await, app.link("Bruno").await);
    let began = tokio::time::Instant::now();
    let mut ids = Vec::new();
    for n in 0..12 {
        ids.push(app.send(&ana, &bruno.phone, &format!("n{n}")).await);
    }
    let last = format!("/messages/{}", ids[11]);
    app.until("the last one to say why it waits", async || {
        (app.get(&last).await["code"] == "paced_rate").then_some(())
    })
    .await;
    for id in &ids {
        app.message(id, &["delivered", "read"]).await;
    }
    // Six at once, then one every 60/55 s.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(5 * 1091), "{took:?}");
    let wanted: Vec<_> = (0..12).map(|n| format!("n{n}")).collect();
    assert_eq!(texts(&app, &bruno), wanted);
}
