//! API keys, signing keys and the audit log.

use std::time::Duration;

use recado::domain::Kind;
use recado::domain::command::CommandType;
use recado::domain::identity::{Actor, AuditEntry, AuditFilter, Scope, Scopes, SigningKey};
use recado::domain::ids::{KeyId, SessionId, SigningKeyId, TenantId, UserId};
use recado::domain::time::now;
use recado::domain::view::PageRequest;
use recado::domain::write::people::{AddKey, AddSigningKey, PeopleWrite, RevokeKey, RotateKey};
use recado::domain::write::{Accept, CreateSession, Outcome, Sweep, Write};
use uuid::Uuid;

use super::people::audit;
use super::tenants::key;
use super::world::{World, code, later, page};

fn people(write: PeopleWrite) -> Write {
    Write::People(Box::new(write))
}

async fn actions(world: &World, filter: AuditFilter) -> Vec<String> {
    let log = world.store.audit_log(world.tenant, &filter, page(100)).await.unwrap();
    log.items.into_iter().map(|entry| entry.action).collect()
}

pub async fn a_key_says_what_it_may_with_which_sessions_and_until_when(world: World) {
    let session = SessionId::new();
    let narrow = AddKey {
        scopes: Scopes::of(&[Scope::MessagesSend, Scope::EventsRead]),
        sessions: Some(vec![session]),
        expires_at: Some(later(1_000)),
        created_by: Some(Actor::user(UserId::new())),
        audit: audit(world.tenant, "key.created"),
        ..key(world.tenant, 1)
    };
    world.done(Write::AddKey(narrow.clone())).await;
    let found = world.store.key(&[1; 32]).await.unwrap().unwrap();
    assert_eq!((found.scopes, found.expires_at), (narrow.scopes, narrow.expires_at));
    assert!(found.reaches(session) && !found.reaches(SessionId::new()));
    assert!(found.good(now()) && !found.good(later(1_001)));
    let shown = world.store.api_key(world.tenant, narrow.id).await.unwrap().unwrap();
    assert_eq!(
        (shown.prefix.as_str(), shown.created_by, shown.last_used_at),
        ("secret01", narrow.created_by, None)
    );
    assert_eq!(actions(&world, AuditFilter::default()).await, ["key.created"]);
    // A stranger's key with everything has nothing of the whole service.
    let stranger = TenantId(Uuid::now_v7());
    world.done(Write::AddKey(key(stranger, 2))).await;
    let theirs = world.store.key(&[2; 32]).await.unwrap().unwrap();
    assert!(!theirs.scopes.has(Scope::AdminRead) && theirs.scopes.has(Scope::AuditRead));
    world.done(Write::AddKey(key(world.tenant, 3))).await;
    assert_eq!(world.store.key(&[3; 32]).await.unwrap().unwrap().scopes, Scopes::ALL);
}

pub async fn a_revoked_key_is_no_more(world: World) {
    let mine = key(world.tenant, 1);
    world.done(Write::AddKey(mine.clone())).await;
    let revoke =
        RevokeKey { tenant: world.tenant, id: mine.id, audit: audit(world.tenant, "key.revoked"), at: now() };
    for _ in 0..2 {
        world.done(people(PeopleWrite::RevokeKey(revoke.clone()))).await;
    }
    assert!(!world.store.key(&[1; 32]).await.unwrap().unwrap().good(now()));
    assert_eq!(actions(&world, AuditFilter::default()).await, ["key.revoked"], "once");
    assert_eq!(world.store.keys(world.tenant).await.unwrap(), 1, "the first key is not made again");
    let nothing = RevokeKey { id: KeyId::new(), ..revoke };
    assert_eq!(code(&world.write(people(PeopleWrite::RevokeKey(nothing))).await), "key_not_found");
}

pub async fn a_rotated_key_stays_good_for_the_overlap(world: World) {
    let old = AddKey { expires_at: Some(later(5_000)), ..key(world.tenant, 1) };
    world.done(Write::AddKey(old.clone())).await;
    let rotate = |old: KeyId, secret, overlap| {
        let new = key(world.tenant, secret);
        people(PeopleWrite::RotateKey(RotateKey { old, overlap_until: later(overlap), new }))
    };
    world.done(rotate(old.id, 2, 60_000)).await;
    let found = world.store.key(&[1; 32]).await.unwrap().unwrap();
    assert_eq!(found.expires_at, old.expires_at, "no longer than it had");
    assert!(world.store.key(&[2; 32]).await.unwrap().unwrap().good(later(70_000)));
    let answer = world.write(rotate(old.id, 3, 60_000)).await;
    assert_eq!((answer.as_ref().unwrap_err().kind, code(&answer)), (Kind::Conflict, "key_not_good"));
    assert!(world.store.key(&[3; 32]).await.unwrap().is_none());
    let listed = world.store.api_keys(world.tenant, page(10)).await.unwrap().items;
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].replaced_by, Some(listed[1].key_id));
    world.done(rotate(listed[1].key_id, 4, 1_000)).await;
    let second = world.store.key(&[2; 32]).await.unwrap().unwrap();
    assert!(second.good(now()) && !second.good(later(2_000)));
}

pub async fn no_more_keys_than_allowed(world: World) {
    let some = |secret| Write::AddKey(AddKey { limit: 2, ..key(world.tenant, secret) });
    let answers = world.store.commit([some(1), some(2), some(3)].into()).await.unwrap();
    assert_eq!(answers.iter().map(code).collect::<Vec<_>>(), ["", "", "key_limit"]);
    let first = world.store.key(&[1; 32]).await.unwrap().unwrap();
    let revoke = RevokeKey { tenant: world.tenant, id: first.id, audit: None, at: now() };
    world.done(people(PeopleWrite::RevokeKey(revoke))).await;
    world.done(some(3)).await;
}

pub async fn a_keys_use_is_written_down_once_a_minute(world: World) {
    let mine = key(world.tenant, 1);
    world.done(Write::AddKey(mine.clone())).await;
    let used = async |at| {
        world.done(people(PeopleWrite::TouchKeys(vec![(mine.id, at), (KeyId::new(), at)]))).await;
        world.store.api_key(world.tenant, mine.id).await.unwrap().unwrap().last_used_at
    };
    let start = now();
    assert_eq!(used(start).await, Some(start));
    assert_eq!(used(start.after(Duration::from_secs(59))).await, Some(start));
    let next = start.after(Duration::from_secs(60));
    assert_eq!(used(next).await, Some(next));
    assert_eq!(used(start).await, Some(next), "never back");
}

fn signing(newest: Option<SigningKeyId>, at: i64) -> AddSigningKey {
    let key = SigningKey {
        id: SigningKeyId::new(),
        algorithm: "EdDSA".to_owned(),
        public: vec![1, 2, 3],
        secret: vec![4, 5, 6],
        created_at: later(at),
        retires_at: None,
    };
    AddSigningKey { key, newest }
}

pub async fn of_two_signing_keys_made_at_once_one_is_kept(world: World) {
    let first = signing(None, 0);
    world.done(people(PeopleWrite::AddSigningKey(first.clone()))).await;
    let mut making = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (store, next) = (world.store.clone(), signing(Some(first.key.id), 1));
        making.spawn(async move {
            store.commit([people(PeopleWrite::AddSigningKey(next))].into()).await.unwrap().pop().unwrap()
        });
    }
    let answers = making.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(answers.iter().filter(|answer| code(answer) == "changed_meanwhile").count(), 3);
    let keys = world.store.signing_keys().await.unwrap();
    assert_eq!((keys.len(), &keys[1]), (2, &first.key));
    // An old one is retired, and swept away once its last token has expired.
    let retires = now().before(Duration::from_secs(10));
    world.done(people(PeopleWrite::RetireSigningKey(first.key.id, retires))).await;
    assert_eq!(world.store.signing_keys().await.unwrap()[1].retires_at, Some(retires));
    let sweep = Sweep { fence: world.fence, at: now(), keys_before: now(), limit: 10 };
    world.write(Write::Sweep(sweep)).await.unwrap();
    assert_eq!(world.store.signing_keys().await.unwrap().len(), 1);
    let nothing = PeopleWrite::RetireSigningKey(SigningKeyId::new(), now());
    assert_eq!(code(&world.write(people(nothing)).await), "signing_key_not_found");
}

pub async fn the_audit_log_is_read_by_who_what_which_and_when(world: World) {
    let (ana, eva) = (Actor::user(UserId::new()), Actor::key(KeyId::new()));
    let start = now();
    for n in 0..7 {
        let actor = if n % 2 == 0 { ana } else { eva };
        let action = if n < 4 { "session.created" } else { "session.deleted" };
        let at = start.after(Duration::from_secs(n));
        let entry = AuditEntry::new(world.tenant, actor, action, at).to("session", n);
        world.done(people(PeopleWrite::Record(Box::new(entry)))).await;
    }
    let targets = async |filter: AuditFilter| {
        let log = world.store.audit_log(world.tenant, &filter, page(100)).await.unwrap();
        log.items.into_iter().map(|entry| entry.target.unwrap().id).collect::<String>()
    };
    let all = AuditFilter::default;
    assert_eq!(targets(all()).await, "6543210");
    assert_eq!(targets(AuditFilter { actor: Some(eva), ..all() }).await, "531");
    assert_eq!(targets(AuditFilter { action: Some("session.deleted".to_owned()), ..all() }).await, "654");
    assert_eq!(targets(AuditFilter { target: Some("2".to_owned()), ..all() }).await, "2");
    let since = Some(start.after(Duration::from_secs(2)));
    let until = Some(start.after(Duration::from_secs(4)));
    assert_eq!(targets(AuditFilter { since, until, ..all() }).await, "32");
    assert_eq!(targets(AuditFilter { actor: Some(Actor::SYSTEM), ..all() }).await, "");
    let (mut seen, mut cursor) = (String::new(), None);
    loop {
        let part = PageRequest { cursor, limit: 3 };
        let log = world.store.audit_log(world.tenant, &all(), part).await.unwrap();
        seen.extend(log.items.into_iter().map(|entry| entry.target.unwrap().id));
        cursor = log.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, "6543210");
}

pub async fn what_was_refused_or_repeated_is_not_written_down(world: World) {
    let created = |name: &str| CreateSession {
        name: Some(name.to_owned()),
        audit: audit(world.tenant, "session.created"),
        idempotency: super::world::key(name, 1),
        ..world.create()
    };
    let create = created("ventas");
    let session = create.session;
    for _ in 0..2 {
        world.write(Write::CreateSession(create.clone())).await.unwrap();
    }
    let taken = CreateSession { idempotency: None, ..created("ventas") };
    assert_eq!(code(&world.write(Write::CreateSession(taken)).await), "session_name_taken");
    let stop =
        Accept { audit: audit(world.tenant, "session.stopped"), ..world.command(session, CommandType::Stop) };
    for _ in 0..2 {
        world.accept(&stop).await.unwrap();
    }
    let full =
        Accept { queue_limit: 0, audit: stop.audit.clone(), ..world.command(session, CommandType::Stop) };
    assert_eq!(code(&world.accept(&full).await), "session_queue_full");
    // A message with one goes the long way, and is written down too.
    let message = Accept { audit: audit(world.tenant, "message.accepted"), ..world.message(session, "hola") };
    let batch = [Write::Accept(message), Write::Stamp(world.fence, 100)];
    assert!(matches!(world.store.commit(batch.into()).await.unwrap()[0], Ok(Outcome::Accepted { .. })));
    assert_eq!(
        actions(&world, AuditFilter::default()).await,
        ["message.accepted", "session.stopped", "session.created"]
    );
}
