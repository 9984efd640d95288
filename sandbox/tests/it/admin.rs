//! The admin surface over HTTP.

use serde_json::{Value, json};

use crate::support::{TestClient, linked, sandbox, within};

struct Admin(String, reqwest::Client);

impl Admin {
    fn of(sandbox: &recado_sandbox::Sandbox) -> Self {
        // Another test may have been first.
        rustls::crypto::ring::default_provider().install_default().ok();
        Self(sandbox.http_url(), reqwest::Client::builder().build().unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.1.get(format!("{}{path}", self.0))).await
    }

    async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        answer(self.1.post(format!("{}{path}", self.0)).body(body.to_owned())).await
    }

    async fn delete(&self, path: &str) -> (u16, Value) {
        answer(self.1.delete(format!("{}{path}", self.0))).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = within("an answer", request.send()).await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

#[tokio::test]
async fn a_client_is_linked_and_used_by_http_alone() {
    let sandbox = sandbox().await;
    let admin = Admin::of(&sandbox);
    let mut client = TestClient::pinned(&sandbox).await;
    client.run();
    let qr = client.qr().await;
    let (status, linked) = admin.post("/admin/mock-phone/scan-qr?phone=%2B15550007777", &qr).await;
    assert_eq!((status, linked["phone"].as_str()), (200, Some("15550007777")), "{linked}");
    client.connected().await;
    let (_, other) = {
        let mut other = TestClient::pinned(&sandbox).await;
        other.run();
        let qr = other.qr().await;
        let linked = admin.post("/admin/mock-phone/scan-qr?name=Bob", &qr).await.1;
        other.connected().await;
        (other, linked)
    };
    let bob = other["phone"].as_str().unwrap();
    let send = json!({ "to": "15550007777", "text": "hi", "count": 3, "id": "B" }).to_string();
    let (status, sent) = admin.post(&format!("/admin/accounts/{bob}/send"), &send).await;
    assert_eq!((status, &sent["ids"]), (200, &json!(["B-1", "B-2", "B-3"])));
    for n in 1..=3 {
        assert_eq!(client.message().await.1, format!("hi #{n}"));
    }
    let (_, accounts) = admin.get("/admin/accounts").await;
    assert_eq!(accounts["accounts"].as_array().unwrap().len(), 2);
    let (_, inbox) = admin.get("/admin/accounts/15550007777/inbox?after=0&limit=2").await;
    assert_eq!(inbox["messages"][0]["from"].as_str(), Some(bob), "{inbox}");
}

#[tokio::test]
async fn identity_and_stats_are_there() {
    let sandbox = sandbox().await;
    let admin = Admin::of(&sandbox);
    let (_, identity) = admin.get("/admin/identity").await;
    assert_eq!(identity["staticKey"].as_str().unwrap().len(), 64);
    linked(&sandbox).await;
    let (_, stats) = admin.get("/admin/stats").await;
    assert_eq!((stats["accounts"].as_u64(), stats["linked"].as_u64()), (Some(1), Some(1)), "{stats}");
}

#[tokio::test]
async fn mistakes_get_their_code() {
    let sandbox = sandbox().await;
    let admin = Admin::of(&sandbox);
    let many = json!({ "kind": "nack", "times": 0 }).to_string();
    let table = [
        (admin.get("/nothing").await, 404, "not_found"),
        (admin.get("/admin/accounts/1/inbox").await, 404, "not_found"),
        (admin.get("/admin/accounts/1/inbox?after=x").await, 400, "invalid"),
        (admin.post("/admin/mock-phone/scan-qr", "no").await, 400, "invalid"),
        (admin.post("/admin/mock-phone/enter-code", "{}").await, 400, "invalid"),
        (admin.post("/admin/mock-phone/enter-code", r#"{"phone":"x","code":"A"}"#).await, 400, "invalid"),
        (
            admin.post("/admin/mock-phone/enter-code", r#"{"phone":"15550001111","code":"A"}"#).await,
            404,
            "not_found",
        ),
        (admin.post("/admin/accounts/1/send", r#"{"to":"2","text":"x"}"#).await, 404, "not_found"),
        (admin.post("/admin/accounts/1/send", "{").await, 400, "invalid"),
        (admin.post("/admin/faults", &many).await, 400, "invalid"),
        (admin.post("/admin/faults", r#"{"kind":"earthquake"}"#).await, 400, "invalid"),
        (admin.post("/admin/faults", r#"{"kind":"nack","code":7}"#).await, 400, "invalid"),
        (admin.post("/admin/faults", r#"{"kind":"nack","phone":"1"}"#).await, 404, "not_found"),
    ];
    for (n, ((status, body), want, code)) in table.into_iter().enumerate() {
        assert_eq!((status, body["code"].as_str()), (want, Some(code)), "row {n}: {body}");
    }
}

#[tokio::test]
async fn faults_are_set_listed_and_cleared() {
    let sandbox = sandbox().await;
    let admin = Admin::of(&sandbox);
    let (status, fault) = admin.post("/admin/faults", r#"{"kind":"refuse_login","times":3}"#).await;
    assert_eq!((status, fault["code"].as_u64()), (200, Some(503)), "{fault}");
    assert_eq!(admin.get("/admin/faults").await.1["faults"].as_array().unwrap().len(), 1);
    assert_eq!(admin.delete(&format!("/admin/faults?id={}", fault["id"])).await.1["cleared"], 1);
    assert_eq!(admin.get("/admin/faults").await.1["faults"], json!([]));
}
