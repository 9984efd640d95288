//! A session's credentials.

use recado::domain::ids::SessionId;
use recado::domain::write::{AuthOp, AuthWrite, Write};

use super::world::World;

fn put(key: &str, value: u8, stamp: i64) -> AuthOp {
    AuthOp::Put { kind: "session", key: key.to_owned(), value: vec![value; 40], stamp }
}

fn update(key: &str, value: u8) -> AuthOp {
    AuthOp::Update { kind: "session", key: key.to_owned(), value: vec![value; 40], stamp: 7 }
}

fn delete(key: &str) -> AuthOp {
    AuthOp::Delete { kind: "session", key: key.to_owned() }
}

async fn write(world: &World, session: SessionId, ops: Vec<AuthOp>) {
    let (fence, tenant) = (world.fence, world.tenant);
    world.done(Write::Auth(AuthWrite { fence, tenant, session, ops })).await;
}

/// What is stored, as name and first byte.
async fn stored(world: &World, session: SessionId) -> Vec<(String, u8)> {
    let all = world.store.auth_prefix(session, "session", "").await.unwrap();
    all.into_iter().map(|(key, value, _)| (key, value[0])).collect()
}

fn named(pairs: &[(&str, u8)]) -> Vec<(String, u8)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect()
}

pub async fn credentials_are_put_replaced_and_removed_in_order(world: World) {
    let (session, other) = (world.session().await, world.session().await);
    write(&world, session, vec![AuthOp::PutCreds(vec![1]), AuthOp::PutCreds(vec![2]), put("a", 1, 5)]).await;
    write(&world, other, vec![put("a", 9, 0)]).await;
    assert_eq!(world.store.creds(session).await.unwrap(), Some(vec![2]));
    assert_eq!(world.store.creds(other).await.unwrap(), None);
    assert_eq!(world.store.auth(session, "session", "a").await.unwrap(), Some((vec![1; 40], 5)));
    let ops = vec![
        put("b", 1, 0),
        put("a", 2, 0),
        put("b", 3, 0),
        delete("a"),
        put("c", 4, 0),
        delete("c"),
        put("c", 5, 0),
    ];
    write(&world, session, ops).await;
    assert_eq!(stored(&world, session).await, named(&[("b", 3), ("c", 5)]));
    assert_eq!(stored(&world, other).await, named(&[("a", 9)]));
    assert_eq!(world.store.auth(session, "prekey", "b").await.unwrap(), None);
    let (fence, ops) = (world.fence, vec![put("x", 1, 0)]);
    let foreign = recado::domain::ids::TenantId(uuid::Uuid::now_v7());
    let refused = world.write(Write::Auth(AuthWrite { fence, tenant: foreign, session, ops })).await;
    assert_eq!(super::world::code(&refused), "session_not_found");
}

pub async fn a_consumed_key_does_not_come_back(world: World) {
    let session = world.session().await;
    write(&world, session, vec![update("a", 1)]).await;
    assert!(stored(&world, session).await.is_empty());
    write(&world, session, vec![put("a", 1, 0), update("a", 2), delete("a"), update("a", 3)]).await;
    assert!(stored(&world, session).await.is_empty());
    write(&world, session, vec![put("a", 1, 0), put("b", 1, 0)]).await;
    write(&world, session, vec![update("a", 2), update("a", 3), delete("b"), update("b", 4)]).await;
    assert_eq!(stored(&world, session).await, named(&[("a", 3)]));
    assert_eq!(world.store.auth(session, "session", "a").await.unwrap().unwrap().1, 7);
}

pub async fn families_are_swept_by_prefix_and_stamp(world: World) {
    let (session, other) = (world.session().await, world.session().await);
    let keys = ["1555:1", "1555:2", "15551:1", "2", "ñ"];
    for of in [session, other] {
        write(&world, of, keys.iter().map(|key| put(key, 1, 0)).collect()).await;
    }
    let prefix = |prefix: &str| AuthOp::DeletePrefix { kind: "session", prefix: prefix.to_owned() };
    // What is put behind the sweep stays.
    write(&world, session, vec![put("1555:3", 1, 0), prefix("1555:"), put("1555:4", 2, 0)]).await;
    assert_eq!(stored(&world, session).await, named(&[("15551:1", 1), ("1555:4", 2), ("2", 1), ("ñ", 1)]));
    let found = world.store.auth_prefix(other, "session", "1555:").await.unwrap();
    assert_eq!(found.len(), 2);
    write(&world, session, vec![prefix("")]).await;
    assert!(stored(&world, session).await.is_empty());
    // An unlinked session forgets all, and starts anew in the same breath.
    write(&world, session, vec![AuthOp::PutCreds(vec![1]), put("a", 1, 0), AuthOp::Wipe, put("b", 2, 0)])
        .await;
    assert_eq!(
        (stored(&world, session).await, world.store.creds(session).await.unwrap()),
        (named(&[("b", 2)]), None)
    );
    write(&world, session, vec![delete("b")]).await;
    let ops = vec![put("never", 1, 0), put("old", 1, 10), put("new", 1, 20)];
    write(&world, session, ops).await;
    write(&world, session, vec![AuthOp::DeleteStamped { kind: "session", before: 20 }]).await;
    assert_eq!(stored(&world, session).await, named(&[("never", 1), ("new", 1)]));
    assert_eq!(stored(&world, other).await.len(), 5);
}

pub async fn several_are_read_at_once(world: World) {
    let session = world.session().await;
    write(&world, session, vec![put("a", 1, 0), put("b\"'", 2, 3), put("c", 3, 0)]).await;
    let names = ["b\"'".to_owned(), "a".to_owned(), "missing".to_owned()];
    let mut found = world.store.auth_many(session, "session", &names).await.unwrap();
    found.sort_unstable();
    assert_eq!(found, [("a".to_owned(), vec![1; 40], 0), ("b\"'".to_owned(), vec![2; 40], 3)]);
    assert!(world.store.auth_many(session, "session", &[]).await.unwrap().is_empty());
}
