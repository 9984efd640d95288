//! What belongs to whom.

use recado::domain::Kind;
use recado::domain::event::Log;
use recado::domain::identity::Scopes;
use recado::domain::ids::{KeyId, Position, TenantId};
use recado::domain::time::now;
use recado::domain::view::{EventFilter, PageRequest};
use recado::domain::write::{AddKey, DeliveryFailed, Redrive, Write};
use uuid::Uuid;

use super::world::{World, code, page};

/// A key that may all.
pub fn key(tenant: TenantId, secret: u8) -> AddKey {
    AddKey {
        tenant,
        id: KeyId::new(),
        hash: [secret; 32],
        name: "laptop".to_owned(),
        prefix: format!("secret{secret:02}"),
        scopes: Scopes::ALL,
        sessions: None,
        created_by: None,
        expires_at: None,
        limit: 1_000,
        audit: None,
        at: now(),
    }
}

pub async fn a_key_is_found_by_its_hash_alone(world: World) {
    let other = TenantId(Uuid::now_v7());
    let (mine, theirs) = (key(world.tenant, 1), key(other, 2));
    for added in [&mine, &theirs] {
        world.done(Write::AddKey(added.clone())).await;
    }
    let found = world.store.key(&[2; 32]).await.unwrap();
    assert_eq!(found.map(|key| (key.tenant, key.id)), Some((other, theirs.id)));
    assert_eq!(world.store.key(&[3; 32]).await.unwrap(), None);
    assert_eq!(
        (world.store.keys(world.tenant).await.unwrap(), world.store.keys(other).await.unwrap()),
        (1, 1)
    );
}

pub async fn a_key_is_stored_once(world: World) {
    let first = key(world.tenant, 1);
    world.done(Write::AddKey(first)).await;
    let refusal = world.write(Write::AddKey(key(TenantId(Uuid::now_v7()), 1))).await.unwrap_err();
    assert_eq!((refusal.kind, refusal.code), (Kind::Conflict, "key_exists"));
    assert_eq!(world.store.key(&[1; 32]).await.unwrap().unwrap().tenant, world.tenant);
}

#[expect(clippy::cognitive_complexity, reason = "one story, told in order: each assertion counts")]
pub async fn nothing_of_a_tenant_is_seen_by_another(world: World) {
    let stranger = TenantId(Uuid::now_v7());
    let session = world.session().await;
    let accept = world.message_to(session, "15550100199", "hola");
    world.accept(&accept).await.unwrap();
    world.done(Write::Link(world.link(session, recado::domain::session::SessionState::Connected, "x"))).await;
    let event = world.events(session, Log::DomainEvents).await.remove(0);
    let bury = DeliveryFailed {
        fence: world.fence,
        group: "webhooks".to_owned(),
        log: Log::DomainEvents,
        position: event.position,
        event: event.event_id,
        attempts: 1,
        error: String::new(),
        at: now(),
        next_at: now(),
        dead_letter: None,
    };
    world.done(Write::Bury(bury)).await;
    let letter = world.store.dead_letters(world.tenant, None, page(9)).await.unwrap().items.remove(0);

    let store = &world.store;
    assert!(store.session(stranger, session).await.unwrap().is_none());
    assert!(store.sessions(stranger, page(9)).await.unwrap().items.is_empty());
    assert!(store.timeline(stranger, session).await.unwrap().is_empty());
    assert!(store.message(stranger, accept.message.clone().unwrap().id).await.unwrap().is_none());
    for of in [None, Some(session)] {
        assert!(store.messages(stranger, of, "15550100199", page(9)).await.unwrap().items.is_empty());
        assert!(store.chats(stranger, of, page(9)).await.unwrap().items.is_empty());
    }
    assert!(store.dead_letters(stranger, None, page(9)).await.unwrap().items.is_empty());
    let filter = EventFilter { tenant: Some(stranger), session: Some(session), ..EventFilter::default() };
    assert!(store.events(world.fence.shard, &filter, Position(0), 9).await.unwrap().0.is_empty());
    let mut foreign = world.message(session, "hola");
    foreign.tenant = stranger;
    assert_eq!(code(&world.accept(&foreign).await), "session_not_found");
    // Not even by repeating a command of the owner's.
    let repeated = recado::domain::write::Accept { tenant: stranger, ..accept };
    assert_eq!(code(&world.accept(&repeated).await), "session_not_found");
    let response = serde_json::Value::Null;
    let redrive = Redrive {
        tenant: stranger,
        id: letter.dead_letter_id,
        response,
        idempotency: None,
        at: now(),
        audit: None,
    };
    assert_eq!(code(&world.write(Write::Redrive(redrive)).await), "dead_letter_not_found");
}

pub async fn sessions_page_oldest_first(world: World) {
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(world.session().await);
    }
    world.done(Write::DeleteSession(world.fence, made.remove(3))).await;
    let mut at = PageRequest { cursor: None, limit: 2 };
    let mut seen = Vec::new();
    let mut pages = 0;
    loop {
        let page = world.store.sessions(world.tenant, at.clone()).await.unwrap();
        seen.extend(page.items.iter().map(|view| view.session_id));
        pages += 1;
        at.cursor = page.next_cursor;
        if at.cursor.is_none() {
            break;
        }
    }
    assert_eq!((seen, pages), (made, 3));
}

pub async fn an_invented_cursor_is_refused(world: World) {
    for cursor in ["", "!", "bm90IGEgY3Vyc29y", "MTIzL3g"] {
        let at = || PageRequest { cursor: Some(cursor.to_owned()), limit: 2 };
        let store = &world.store;
        let codes = [
            store.sessions(world.tenant, at()).await.unwrap_err(),
            store.messages(world.tenant, None, "15550100199", at()).await.unwrap_err(),
            store.chats(world.tenant, None, at()).await.unwrap_err(),
            store.dead_letters(world.tenant, None, at()).await.unwrap_err(),
        ]
        .map(|error| (error.kind, error.code, error.field));
        let expected = (Kind::Invalid, "invalid_cursor", Some("cursor".to_owned()));
        assert!(codes.iter().all(|code| *code == expected), "{cursor}: {codes:?}");
    }
}

pub async fn the_tables_answer_a_probe(world: World) {
    world.store.probe().await.unwrap();
    world.store.probe().await.unwrap();
}
