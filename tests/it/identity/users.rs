//! The people of a tenant, what they may do to each other, and what is written down of it.

use serde_json::{Value, json};

use super::{Answer, PASSWORD, Rig};

async fn change(rig: &Rig, by: &str, user: &str, body: Value) -> Answer {
    rig.call("PATCH", &format!("/users/{user}"), Some(by), Some(body), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_invited_changed_suspended_and_forgotten() {
    let rig = Rig::start().await;
    let owner = rig.owner("ana@example.org").await;
    let invited =
        rig.post("/users", &owner.access, json!({"name": "Ada Lovelace", "email": "ada@example.com"})).await;
    assert_eq!(invited.status, 201, "{invited:?}");
    let id = invited.text("userId");
    assert_eq!(invited.headers["location"], format!("/users/{id}"));
    assert_eq!((&invited.body["state"], &invited.body["role"]), (&json!("invited"), &json!("member")));
    let taken = rig.post("/users", &owner.access, json!({"email": "ada@example.com"})).await;
    assert_eq!(taken.code(), (409, "mail_taken"));
    let body = json!({"token": rig.token("invite", "ada@example.com"), "password": PASSWORD});
    assert_eq!(rig.open("/auth/invitations/accept", body.clone()).await.status, 200);
    assert_eq!(rig.open("/auth/invitations/accept", body).await.code(), (400, "token_spent"));
    let ada = rig.login("ada@example.com").await;
    assert_eq!((ada.tenant.as_str(), ada.user.as_str()), (owner.tenant.as_str(), id.as_str()));
    assert_eq!(rig.get("/users", &ada.access).await.code(), (403, "missing_scope"), "a member");
    let changed = change(&rig, &owner.access, &id, json!({"role": "admin"})).await;
    assert_eq!((changed.status, &changed.body["role"]), (200, &json!("admin")), "{changed:?}");
    let renewed = rig.refresh(&ada.refresh).await.text("accessToken");
    assert_eq!(rig.get("/users", &renewed).await.status, 200, "more with the next access token");
    assert_eq!(rig.get("/users", &ada.access).await.status, 403, "a token never does more than it says");
    let stale = change(&rig, &owner.access, &id, json!({"name": "Ada", "version": 1})).await;
    assert_eq!(stale.code(), (409, "changed_meanwhile"));
    let path = format!("/users/{id}");
    let shown = rig.get(&path, &owner.access).await;
    assert_eq!(
        (&shown.body["name"], &shown.body["version"]),
        (&json!("Ada Lovelace"), &changed.body["version"])
    );
    assert!(!shown.body.to_string().contains("argon2"));
    let act = async |what: &str| rig.post(&format!("{path}/{what}"), &owner.access, json!({})).await;
    assert_eq!(act("reinstate").await.code(), (409, "user_state"));
    assert_eq!(act("suspend").await.body["state"], "suspended");
    assert_eq!(rig.get("/auth/me", &ada.access).await.code(), (401, "login_ended"), "at once");
    assert_eq!(rig.refresh(&ada.refresh).await.code(), (401, "login_ended"));
    let login = json!({"email": "ada@example.com", "password": PASSWORD});
    assert_eq!(rig.open("/auth/login", login.clone()).await.code(), (403, "user_suspended"));
    assert_eq!(act("reinstate").await.body["state"], "active");
    assert_eq!(rig.open("/auth/login", login.clone()).await.status, 200);
    assert_eq!(rig.get("/auth/me", &ada.access).await.status, 401, "the old login stays ended");
    let deleted = rig.call("DELETE", &path, Some(&owner.access), None, &[]).await;
    assert_eq!((deleted.status, &deleted.body["state"]), (200, &json!("deleted")));
    let left = rig.get(&path, &owner.access).await.body.to_string();
    assert!(!left.contains("ada@") && !left.contains("Lovelace"), "{left}");
    assert_eq!(rig.open("/auth/login", login).await.code(), (401, "wrong_credentials"));
    let again = rig.post("/users", &owner.access, json!({"email": "ada@example.com"})).await;
    assert_eq!(again.status, 201, "the address is free again");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_or_changes_more_than_they_have_and_the_last_owner_stays() {
    let rig = Rig::start().await;
    let owner = rig.owner("ana@example.org").await;
    let admin = rig.invited(&owner.access, "adm@example.org", "admin").await;
    let member = rig.invited(&owner.access, "mem@example.org", "member").await;
    let invite = async |by: &str, role: &str| {
        let mail = format!("{}@example.org", uuid::Uuid::now_v7());
        rig.post("/users", by, json!({"email": mail, "role": role})).await
    };
    assert_eq!(invite(&admin.access, "admin").await.status, 201);
    assert_eq!(invite(&admin.access, "owner").await.code(), (403, "role_exceeds"));
    assert_eq!(
        change(&rig, &admin.access, &owner.user, json!({"role": "viewer"})).await.code(),
        (403, "role_exceeds")
    );
    assert_eq!(
        change(&rig, &admin.access, &member.user, json!({"role": "owner"})).await.code(),
        (403, "role_exceeds")
    );
    assert_eq!(
        change(&rig, &member.access, &member.user, json!({"role": "admin"})).await.code(),
        (403, "missing_scope")
    );
    assert_eq!(
        change(&rig, &owner.access, &owner.user, json!({"role": "admin"})).await.code(),
        (409, "last_owner")
    );
    let suspend = format!("/users/{}/suspend", owner.user);
    assert_eq!(rig.post(&suspend, &owner.access, json!({})).await.code(), (409, "last_owner"));
    let path = format!("/users/{}", owner.user);
    assert_eq!(rig.call("DELETE", &path, Some(&owner.access), None, &[]).await.code(), (409, "last_owner"));
    assert_eq!(rig.get("/auth/me", &owner.access).await.status, 200);
    assert_eq!(change(&rig, &owner.access, &admin.user, json!({"role": "owner"})).await.status, 200);
    assert_eq!(
        change(&rig, &owner.access, &owner.user, json!({"role": "admin"})).await.status,
        200,
        "there are two"
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_invitation_twice_is_one() {
    let rig = Rig::start().await;
    let owner = rig.owner("ana@example.org").await;
    let body = json!({"email": "eva@example.org"});
    let invite = async || {
        rig.call("POST", "/users", Some(&owner.access), Some(body.clone()), &[("idempotency-key", "i-1")])
            .await
    };
    let (first, again) = (invite().await, invite().await);
    assert_eq!((first.status, again.status), (201, 201), "{again:?}");
    assert_eq!(first.body, again.body);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_written_down_with_who_and_which_request() {
    let rig = Rig::start().await;
    let owner = rig.owner("ana@example.org").await;
    let session = rig.session(&owner.access).await;
    let (_, key) = rig.made_key(&owner.access, json!({"name": "k", "scopes": ["audit:read"]})).await;
    let headers = [("x-request-id", "order-7")];
    let path = format!("/api-keys/{key}");
    assert_eq!(rig.call("DELETE", &path, Some(&owner.access), None, &headers).await.status, 204);
    let wrong = json!({"email": "ana@example.org", "password": "not-the-password"});
    assert_eq!(rig.open("/auth/login", wrong).await.status, 401);
    let log = async |query: &str| {
        let answer = rig.get(&format!("/audit-log{query}"), &owner.access).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["items"].as_array().unwrap().clone()
    };
    let all = log("").await;
    let actions: Vec<_> = all.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    for action in [
        "user.registered",
        "user.verified",
        "login.opened",
        "session.created",
        "key.created",
        "key.revoked",
        "login.failed",
    ] {
        assert!(actions.contains(&action), "{action} is not among {actions:?}");
    }
    let revoked = &log("?action=key.revoked").await[0];
    assert_eq!((&revoked["requestId"], &revoked["target"]["id"]), (&json!("order-7"), &json!(key)));
    assert_eq!(revoked["actor"], json!({"kind": "user", "id": owner.user}));
    assert_eq!(log(&format!("?target={session}")).await.len(), 1);
    assert!(log("?until=2020-01-01T00:00:00Z").await.is_empty());
    assert!(log("?actor=system").await.iter().all(|entry| entry["actor"]["kind"] == "system"));
    let text = all.iter().map(Value::to_string).collect::<String>();
    assert!(!text.contains("example.org") && !text.contains(PASSWORD), "nothing personal, nothing secret");
    // As one file, and in order.
    let file = rig
        .call("GET", "/audit-log?limit=2", Some(&owner.access), None, &[("accept", "application/x-ndjson")])
        .await;
    assert_eq!(file.headers["content-type"], "application/x-ndjson");
    let Value::String(lines) = &file.body else { panic!("{file:?}") };
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, all, "every entry, newest first");
    // Another tenant's is another.
    let eva = rig.owner("eva@example.org").await;
    let theirs = rig.get("/audit-log", &eva.access).await.body.to_string();
    assert!(!theirs.contains(&owner.user) && !theirs.contains(&key));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_people_are_shown_to_those_who_may_see_them() {
    let rig = Rig::start().await;
    let owner = rig.owner("ana@example.org").await;
    let viewer = rig.invited(&owner.access, "eva@example.org", "viewer").await;
    let kinds = async |by: &str| -> Vec<String> {
        let page = rig.get("/events?limit=200", by).await.body;
        let items = page["items"].as_array().unwrap().clone();
        items.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    };
    let seen = rig
        .until("the events of people", async || {
            let seen = kinds(&owner.access).await;
            seen.contains(&"user.invited".to_owned()).then_some(seen)
        })
        .await;
    assert!(
        seen.contains(&"user.registered".to_owned()) && seen.contains(&"user.token_issued".to_owned()),
        "{seen:?}"
    );
    assert!(kinds(&viewer.access).await.is_empty(), "a viewer sees none of them");
    let all = rig.get("/events?limit=200", &owner.access).await.body.to_string();
    assert!(!all.contains("example.org") && !all.contains("sessionId"), "nothing personal: {all}");
    rig.stop().await;
}
