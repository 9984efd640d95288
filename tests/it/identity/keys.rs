//! API keys: shown once, no more than their makers, rotated without a gap.

use serde_json::{Value, json};

use super::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_lists_show_what_it_is_known_by() {
    let rig = Rig::start().await;
    let made = rig.post("/api-keys", &rig.key, json!({"name": "shop", "scopes": ["sessions:*"]})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let (key, id) = (made.text("key"), made.text("keyId"));
    assert_eq!(made.headers["location"], format!("/api-keys/{id}"));
    assert_eq!(made.headers["cache-control"], "no-store");
    assert_eq!(made.body["scopes"], json!(["sessions:read", "sessions:write"]));
    let days = |view: &Value| {
        let at =
            |member: &str| serde_json::from_value::<recado::domain::Timestamp>(view[member].clone()).unwrap();
        at("expiresAt").since(at("createdAt")).as_secs() / 86_400
    };
    assert_eq!(days(&made.body), 365, "every key ends some day");
    assert_eq!(rig.get("/sessions", &key).await.status, 200);
    let list = rig.get("/api-keys", &rig.key).await;
    let listed =
        list.body["items"].as_array().unwrap().iter().find(|view| view["keyId"] == *id).unwrap().clone();
    assert_eq!((&listed["name"], &listed["prefix"]), (&json!("shop"), &json!(key[4..12])));
    assert!(!list.body.to_string().contains(&key[12..]), "the rest of it is nowhere");
    let used = rig
        .until("when it was last used", async || {
            let list = rig.get("/api-keys", &rig.key).await.body;
            let items = list["items"].as_array().unwrap().clone();
            items.into_iter().find(|view| view["keyId"] == *id && view["lastUsedAt"].is_string())
        })
        .await;
    assert_eq!(used["createdBy"]["kind"], "key");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_has_more_than_who_makes_it() {
    let rig = Rig::start().await;
    let (few, _) =
        rig.made_key(&rig.key, json!({"name": "few", "scopes": ["keys:*", "sessions:read"]})).await;
    let make = async |by: &str, scopes: &[&str]| {
        rig.post("/api-keys", by, json!({"name": "k", "scopes": scopes})).await
    };
    assert_eq!(make(&few, &["sessions:read"]).await.status, 201);
    for more in [&["sessions:write"][..], &["*"], &["sessions:*"], &["sessions:read", "admin:read"]] {
        assert_eq!(make(&few, more).await.code(), (403, "scope_exceeds"), "{more:?}");
    }
    let owner = rig.owner("ana@example.org").await;
    assert_eq!(make(&owner.access, &["admin:read"]).await.code(), (403, "scope_exceeds"));
    assert_eq!(make(&owner.access, &["users:write"]).await.status, 201);
    let member = rig.invited(&owner.access, "eva@example.org", "member").await;
    assert_eq!(make(&member.access, &["sessions:read"]).await.code(), (403, "missing_scope"));
    // Nor by taking another's place.
    let (_, all) = rig.made_key(&rig.key, json!({"name": "all", "scopes": ["*"]})).await;
    assert_eq!(
        rig.post(&format!("/api-keys/{all}/rotate"), &few, json!({})).await.code(),
        (403, "scope_exceeds")
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_key_is_refused_by_name() {
    let rig = Rig::start().await;
    let (session, stranger) = (rig.session(&rig.key).await, rig.owner("ana@example.org").await);
    let foreign = rig.session(&stranger.access).await;
    for (body, code, field) in [
        (json!({"name": "", "scopes": ["*"]}), "invalid_name", "name"),
        (json!({"name": "k", "scopes": []}), "no_scopes", "scopes"),
        (json!({"name": "k", "scopes": ["everything"]}), "unknown_scope", "scopes"),
        (json!({"name": "k", "scopes": ["*"], "expiresInDays": 0}), "invalid_expiry", "expiresInDays"),
        (json!({"name": "k", "scopes": ["*"], "expiresInDays": 4000}), "invalid_expiry", "expiresInDays"),
        (
            json!({"name": "k", "scopes": ["sessions:read"], "sessionIds": []}),
            "invalid_sessions",
            "sessionIds",
        ),
        (
            json!({"name": "k", "scopes": ["sessions:read"], "sessionIds": [foreign]}),
            "session_not_found",
            "sessionIds",
        ),
        (
            json!({"name": "k", "scopes": ["users:read"], "sessionIds": [session]}),
            "scope_not_of_sessions",
            "scopes",
        ),
        (json!({"name": "k", "scopes": ["*"], "more": 1}), "unknown_field", "more"),
    ] {
        let answer = rig.post("/api-keys", &rig.key, body.clone()).await;
        let status = if code == "session_not_found" { 404 } else { 400 };
        assert_eq!(answer.code(), (status, code), "{body}");
        assert_eq!(answer.body["field"], field, "{body}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_overlaps_with_its_successor_and_a_revoked_one_is_refused_at_once() {
    let rig = Rig::start().await;
    let (old, id) = rig
        .made_key(&rig.key, json!({"name": "shop", "scopes": ["sessions:read"], "expiresInDays": 30}))
        .await;
    let rotate = async |id: &str, overlap: u32| {
        rig.post(&format!("/api-keys/{id}/rotate"), &rig.key, json!({"overlapSeconds": overlap})).await
    };
    let next = rotate(&id, 3600).await;
    assert_eq!(next.status, 201, "{next:?}");
    assert_eq!((&next.body["name"], &next.body["scopes"]), (&json!("shop"), &json!(["sessions:read"])));
    for key in [&old, &next.text("key")] {
        assert_eq!(rig.get("/sessions", key).await.status, 200, "both are good for a while");
    }
    assert_eq!(rotate(&id, 0).await.status, 409, "it has been replaced");
    let last = rotate(&next.text("keyId"), 0).await;
    assert_eq!(
        rig.get("/sessions", &next.text("key")).await.code(),
        (401, "key_expired"),
        "without an overlap: at once"
    );
    assert_eq!(rig.get("/sessions", &last.text("key")).await.status, 200);
    let revoke = format!("/api-keys/{}", last.text("keyId"));
    assert_eq!(rig.call("DELETE", &revoke, Some(&rig.key), None, &[]).await.status, 204);
    assert_eq!(rig.get("/sessions", &last.text("key")).await.code(), (401, "key_revoked"));
    assert_eq!(rotate(&last.text("keyId"), 0).await.status, 409, "there is nothing to replace");
    assert_eq!(rotate(&uuid::Uuid::now_v7().to_string(), 0).await.code(), (404, "key_not_found"));
    rig.stop().await;
}
