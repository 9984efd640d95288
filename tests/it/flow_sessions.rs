//! A session's life: linked, stopped, cut, replaced, refused, logged out, deleted.

use recado_sandbox::{FaultKind, FaultSpec};
use serde_json::json;

use crate::app::TestApp;

async fn order(app: &TestApp, session: &str, what: &str) {
    let answer = app.call("POST", &format!("/sessions/{session}/{what}"), None).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_links_by_pairing_code() {
    let app = TestApp::start().await;
    let other = app.link("Other").await;
    let session = app.create(true).await;
    app.state(&session, "pending_qr").await;
    let body = json!({"phone": other.phone});
    let answer = app.call("POST", &format!("/sessions/{session}/pairing-code"), Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let code = answer.body["pairingCode"].as_str().unwrap();
    app.sandbox().enter_code(&other.phone, code).await.unwrap();
    let linked = app.state(&session, "connected").await;
    assert!(linked["pn"].as_str().unwrap().starts_with(&other.phone));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pairing_code_is_asked_for_anew_also_under_the_same_idempotency_key() {
    let app = TestApp::start().await;
    let other = app.link("Other").await;
    let session = app.create(true).await;
    app.state(&session, "pending_qr").await;
    let path = format!("/sessions/{session}/pairing-code");
    let body = json!({"phone": other.phone});
    let ask = async || {
        let key = [("Idempotency-Key", "pair-once")];
        let answer = app.call_with("POST", &path, Some(body.clone()), &key).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(!answer.headers.contains_key("idempotent-replayed"));
        answer.body["pairingCode"].as_str().unwrap().to_owned()
    };
    let (first, last) = (ask().await, ask().await);
    assert_ne!(first, last);
    // Only the newest code opens anything: an answer that gave the older one again would be of no use.
    app.sandbox().enter_code(&other.phone, &last).await.unwrap();
    app.state(&session, "connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_session_rests_and_starts_again_without_a_new_code() {
    let app = TestApp::start().await;
    let ana = app.link("Ana").await;
    order(&app, &ana.session, "stop").await;
    app.state(&ana.session, "stopped").await;
    order(&app, &ana.session, "start").await;
    app.state(&ana.session, "connected").await;
    order(&app, &ana.session, "reconnect").await;
    app.until("a second reconnect", async || {
        let timeline = app.get(&format!("/sessions/{}/timeline", ana.session)).await;
        let items = timeline["items"].as_array().unwrap();
        items.iter().any(|step| step["reason"] == "reconnect_requested").then_some(())
    })
    .await;
    app.state(&ana.session, "connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_link_reconnects_by_itself_and_says_why() {
    let app = TestApp::start().await;
    let ana = app.link("Ana").await;
    let cut = FaultSpec { phone: Some(ana.phone.clone()), ..FaultSpec::new(FaultKind::Drop) };
    app.sandbox().add_fault(cut).unwrap();
    app.until("two logins", async || {
        let query = format!("&sessionId={}&type=session.status.connected", ana.session);
        (app.events(&query).await.len() == 2).then_some(())
    })
    .await;
    let lost = app.events(&format!("&sessionId={}&type=session.status.disconnected", ana.session)).await;
    assert!(!lost.is_empty() && lost[0]["data"]["reason"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_session_stays_down_until_it_is_started() {
    let app = TestApp::start().await;
    let ana = app.link("Ana").await;
    let replaced = FaultSpec { phone: Some(ana.phone.clone()), ..FaultSpec::new(FaultKind::Replaced) };
    app.sandbox().add_fault(replaced).unwrap();
    let session = app.state(&ana.session, "failed").await;
    assert_eq!(session["reason"], "replaced");
    order(&app, &ana.session, "start").await;
    app.state(&ana.session, "connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_unlinks_the_device_logs_the_session_out_and_it_can_link_again() {
    let app = TestApp::start().await;
    let ana = app.link("Ana").await;
    app.sandbox().unlink(&ana.phone, ana.device).unwrap();
    app.state(&ana.session, "logged_out").await;
    order(&app, &ana.session, "start").await;
    app.state(&ana.session, "pending_qr").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_overloaded_is_tried_again() {
    let app = TestApp::start().await;
    let ana = app.link("Ana").await;
    let refuse = FaultSpec {
        phone: Some(ana.phone.clone()),
        times: Some(2),
        code: Some(503),
        ..FaultSpec::new(FaultKind::RefuseLogin)
    };
    app.sandbox().add_fault(refuse).unwrap();
    order(&app, &ana.session, "reconnect").await;
    app.until("reconnected", async || {
        let query = format!("&sessionId={}&type=session.status.connected", ana.session);
        (app.events(&query).await.len() >= 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_unlinks_the_device_at_the_phone() {
    let app = TestApp::start().await;
    let ana = app.link("Ana").await;
    order(&app, &ana.session, "logout").await;
    app.state(&ana.session, "logged_out").await;
    app.until("the phone knows", async || {
        let accounts = app.sandbox().accounts();
        let account = accounts.iter().find(|account| account.phone == ana.phone).unwrap();
        account.devices.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_session_is_gone_and_its_queued_messages_failed() {
    let app = TestApp::start().await;
    let ana = app.link("Ana").await;
    order(&app, &ana.session, "stop").await;
    app.state(&ana.session, "stopped").await;
    let id = app.send(&ana, "15550100199", "never").await;
    let answer = app.call("DELETE", &format!("/sessions/{}", ana.session), None).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    app.until("gone", async || {
        (app.call("GET", &format!("/sessions/{}", ana.session), None).await.status == 404).then_some(())
    })
    .await;
    let failed = app.message(&id, &["failed"]).await;
    assert_eq!(failed["code"], "session_deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_tree_shows_every_actor_by_name() {
    let app = TestApp::start().await;
    let ana = app.link("Ana").await;
    let tree = app.get("/admin/tree").await.to_string();
    for name in [
        "ledger",
        "archive",
        "hub",
        "leases",
        "scheduler",
        "http",
        "relay",
        "commands",
        "roster",
        &ana.session,
    ] {
        assert!(tree.contains(name), "{name} is not in {tree}");
    }
    assert_eq!(app.call("GET", "/readyz", None).await.status, 200);
}
