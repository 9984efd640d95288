//! Every route × every kind of caller: who is refused, how, and that nothing of one tenant is reached by another.
//!
//! The rows are in [`table`](super::table); a documented route without a row fails the test. Every row is tried on things
//! of its own, so that a deletion in one is no help to the next.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use super::table::{Need, ROWS, Row, SCOPES};
use super::{Answer, Person, Rig};

/// Things of the first tenant.
struct Things {
    session: String,
    message: String,
    user: String,
    key: String,
    login: String,
}

impl Things {
    fn fill(&self, text: &str) -> String {
        text.replace("{session}", &self.session)
            .replace("{message}", &self.message)
            .replace("{user}", &self.user)
            .replace("{key}", &self.key)
            .replace("{login}", &self.login)
            .replace("{none}", &Uuid::now_v7().to_string())
    }

    /// Whether an answer tells of any of them.
    fn show_in(&self, answer: &Answer) -> bool {
        let text = answer.body.to_string();
        [&self.session, &self.message, &self.user, &self.key, &self.login].iter().any(|id| text.contains(*id))
    }
}

/// Those who ask, besides the right one.
struct Callers {
    expired: String,
    revoked: String,
    /// A key of the first tenant, for another session than the one that is asked about.
    elsewhere: String,
    /// A key of another tenant, with all that it can have.
    stranger: String,
    /// Somebody of another tenant.
    foreigner: Person,
    /// Somebody whose login was ended.
    gone: Person,
}

async fn callers(rig: &Rig) -> Callers {
    let (expired, id) = rig.made_key(&rig.key, json!({"name": "expired", "scopes": ["*"]})).await;
    let id = Uuid::parse_str(&id).unwrap();
    let changed =
        rig.tables().execute("update api_keys set expires_at = 1 where id = ?1", [&id.as_bytes()[..]]);
    assert_eq!(changed.unwrap(), 1);
    let (revoked, id) = rig.made_key(&rig.key, json!({"name": "revoked", "scopes": ["*"]})).await;
    assert_eq!(rig.get("/sessions", &revoked).await.status, 200, "it was good, and is remembered");
    assert_eq!(rig.call("DELETE", &format!("/api-keys/{id}"), Some(&rig.key), None, &[]).await.status, 204);
    let other = rig.session(&rig.key).await;
    let limited = json!({
        "name": "elsewhere", "sessionIds": [other],
        "scopes": ["sessions:*", "messages:*", "events:read"],
    });
    let (elsewhere, _) = rig.made_key(&rig.key, limited).await;
    let stranger = rig.service.new_key_of(recado::domain::ids::TenantId(Uuid::now_v7())).await.unwrap();
    let foreigner = rig.owner("foreigner@example.org").await;
    let gone = rig.invited(&rig.key, "gone@example.org", "admin").await;
    assert_eq!(rig.post("/auth/logout", &gone.access, json!({})).await.status, 204);
    Callers { expired, revoked, elsewhere, stranger, foreigner, gone }
}

/// Fresh things of the first tenant, and somebody of it who is logged in twice.
async fn things(rig: &Rig, n: usize) -> (Things, Person) {
    let session = rig.session(&rig.key).await;
    let message = rig.message(&rig.key, &session).await;
    let mail = format!("row-{n}@example.org");
    let person = rig.invited(&rig.key, &mail, "viewer").await;
    let login = rig.login(&mail).await.login;
    let (_, key) = rig.made_key(&rig.key, json!({"name": "thing", "scopes": ["sessions:read"]})).await;
    (Things { session, message, user: person.user.clone(), key, login }, person)
}

async fn ask(rig: &Rig, row: &Row, things: &Things, bearer: Option<&str>) -> Answer {
    let body = (!row.body.is_empty()).then(|| serde_json::from_str(&things.fill(row.body)).unwrap());
    rig.call(row.method, &things.fill(row.path), bearer, body, &[]).await
}

/// What came of a row.
#[derive(Default)]
struct Found {
    wrong: Vec<String>,
    asked: usize,
    crossings: usize,
}

impl Found {
    fn expect(&mut self, row: &Row, who: &str, answer: &Answer, wanted: &[u16]) {
        self.asked += 1;
        if !wanted.contains(&answer.status) {
            self.wrong.push(format!(
                "{} {} as {who}: wanted {wanted:?}, got {:?}",
                row.method,
                row.route,
                answer.code()
            ));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_gives_each_kind_of_caller_its_status_and_nobody_anything_of_another_tenant() {
    let rig = Rig::start().await;
    let callers = callers(&rig).await;
    let mut found = Found::default();
    for (n, row) in ROWS.iter().enumerate() {
        let (things, person) = things(&rig, n).await;
        if row.need == Need::Open {
            found.expect(row, "nobody", &ask(&rig, row, &things, None).await, &[row.right]);
            continue;
        }
        let forged = forged(&person.access);
        let refused = [
            ("nobody", None),
            ("an expired key", Some(&*callers.expired)),
            ("a revoked key", Some(&*callers.revoked)),
            ("an ended login", Some(&*callers.gone.access)),
            ("a forged token", Some(&*forged)),
        ];
        for (who, bearer) in refused {
            found.expect(row, who, &ask(&rig, row, &things, bearer).await, &[401]);
        }
        limited(&rig, row, &things, &callers, &mut found).await;
        strangers(&rig, row, &things, &callers, &mut found).await;
        scopes(&rig, row, (&things, &person), &mut found).await;
    }
    let Found { wrong, asked, crossings } = found;
    println!(
        "{} routes, {asked} requests, cross-tenant reads or writes that succeeded: {crossings}",
        ROWS.len()
    );
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(crossings, 0);
    rig.stop().await;
}

/// With a key that is limited to another session.
async fn limited(rig: &Rig, row: &Row, things: &Things, callers: &Callers, found: &mut Found) {
    let answer = ask(rig, row, things, Some(&callers.elsewhere)).await;
    let names = row.path.contains('{') || row.body.contains("{session}");
    let wanted: &[u16] = match row.need {
        Need::All(_) | Need::Person => &[403],
        Need::Scope(_) if names => &[404],
        Need::Scope(_) | Need::Anyone | Need::Open => &[row.right],
    };
    found.expect(row, "a key of another session", &answer, wanted);
    if things.show_in(&answer) {
        found.wrong.push(format!("{} {} shows a limited key what is not its own", row.method, row.route));
    }
}

/// With credentials of another tenant: theirs is found nowhere.
async fn strangers(rig: &Rig, row: &Row, things: &Things, callers: &Callers, found: &mut Found) {
    let names = row.path.contains('{') || row.body.contains("{session}");
    for (who, bearer, key) in [
        ("another tenant's key", &callers.stranger, true),
        ("another tenant's owner", &callers.foreigner.access, false),
    ] {
        // Nobody of another tenant logs somebody out, so these end the foreigner's own login.
        if row.need == Need::Person && !row.path.contains('{') {
            continue;
        }
        let answer = ask(rig, row, things, Some(bearer)).await;
        let own = [row.right, 201];
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "what is left is decided by whether a thing is named"
        )]
        let wanted: &[u16] = match row.need {
            Need::All(scope) | Need::Scope(scope) if scope.starts_with("admin:") => &[403],
            Need::Person if key => &[403],
            _ if names => &[404],
            _ => &own,
        };
        found.expect(row, who, &answer, wanted);
        if things.show_in(&answer) || (names && answer.status < 300) {
            found.crossings += 1;
            found.wrong.push(format!("{} {} crosses tenants: {answer:?}", row.method, row.route));
        }
    }
}

/// With every scope but the one that is needed, and then with that one alone.
async fn scopes(rig: &Rig, row: &Row, (things, person): (&Things, &Person), found: &mut Found) {
    match row.need {
        Need::Scope(scope) | Need::All(scope) => {
            let others: Vec<_> = SCOPES.into_iter().filter(|one| *one != scope).collect();
            let (without, _) = rig.made_key(&rig.key, json!({"name": "without", "scopes": others})).await;
            found.expect(
                row,
                "a key without the scope",
                &ask(rig, row, things, Some(&without)).await,
                &[403],
            );
            let (with, _) = rig.made_key(&rig.key, json!({"name": "with", "scopes": [scope]})).await;
            found.expect(row, "the right key", &ask(rig, row, things, Some(&with)).await, &[row.right]);
        }
        Need::Person => {
            found.expect(row, "a key", &ask(rig, row, things, Some(&rig.key)).await, &[403]);
            found.expect(row, "the person", &ask(rig, row, things, Some(&person.access)).await, &[row.right]);
        }
        Need::Anyone => {
            found.expect(row, "a key", &ask(rig, row, things, Some(&rig.key)).await, &[row.right]);
            found.expect(row, "the person", &ask(rig, row, things, Some(&person.access)).await, &[row.right]);
        }
        Need::Open => {}
    }
}

/// A token whose signature is another's.
fn forged(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let turned: String = signature.chars().rev().collect();
    assert_ne!(turned, signature);
    format!("{message}.{turned}")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_route_has_its_row() {
    let rig = Rig::start().await;
    let document = rig.call("GET", "/openapi.json", None, None, &[]).await.body;
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let rows: BTreeSet<_> = ROWS.iter().map(|row| (row.method.to_owned(), row.route.to_owned())).collect();
    assert_eq!(rows.len(), ROWS.len(), "a route has two rows");
    assert!(rows.len() > 50, "{}", rows.len());
    let missing: Vec<_> = documented.symmetric_difference(&rows).collect();
    assert!(missing.is_empty(), "no row, or no route: {missing:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_key_lists_its_own_and_nothing_else() {
    let rig = Rig::start().await;
    let (mine, also, other) =
        (rig.session(&rig.key).await, rig.session(&rig.key).await, rig.session(&rig.key).await);
    for session in [&mine, &also, &other] {
        rig.message(&rig.key, session).await;
    }
    rig.invited(&rig.key, "somebody@example.org", "viewer").await;
    let scopes = ["sessions:read", "messages:read", "events:read"];
    let body = json!({"name": "two", "scopes": scopes, "sessionIds": [mine, also]});
    let (key, _) = rig.made_key(&rig.key, body).await;
    let sessions = async |path: &str, key: &str| {
        let answer = rig.get(path, key).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let items = answer.body["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|item| item["sessionId"].as_str().unwrap_or("none").to_owned())
            .collect::<BTreeSet<_>>()
    };
    let two: BTreeSet<_> = [mine.clone(), also.clone()].into();
    for path in ["/sessions", "/chats", "/chats/+15550100199/messages", "/events?limit=200"] {
        rig.until(path, async || (sessions(path, &rig.key).await.len() >= 3).then_some(())).await;
        assert_eq!(sessions(path, &key).await, two, "{path}");
    }
    for path in ["/chats", "/chats/+15550100199/messages", "/events"] {
        assert_eq!(
            sessions(&format!("{path}?sessionId={mine}"), &key).await,
            [mine.clone()].into(),
            "{path}"
        );
        assert_eq!(
            rig.get(&format!("{path}?sessionId={other}"), &key).await.code(),
            (404, "session_not_found")
        );
    }
    // Pages of one row each come to the same.
    let (mut seen, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page = rig.get(&format!("/sessions?limit=1{cursor}"), &key).await.body;
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["sessionId"].as_str().unwrap().to_owned()),
        );
        let Value::String(next) = &page["nextCursor"] else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, two);
    rig.stop().await;
}
