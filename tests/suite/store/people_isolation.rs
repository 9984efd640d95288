//! A stranger who knows every id of another tenant finds nothing by them and changes nothing.

use recado::domain::identity::{AuditFilter, Purpose, Role, User, UserFilter, UserState};
use recado::domain::ids::{KeyId, TenantId};
use recado::domain::time::now;
use recado::domain::write::people::{
    Issue, Logins, OpenLogin, PeopleWrite, RevokeKey, RevokeLogins, RotateKey, SaveUser, SignIn, Spend,
};
use recado::domain::write::{Accept, Redrive, Write};
use serde_json::json;

use super::people::{audit, mail, registered, save, stored, token, write};
use super::people_logins::{open, opened, revoke};
use super::tenants::key;
use super::world::{World, code, page};

/// Everything of a tenant, as it is stored.
async fn everything(world: &World, user: &User) -> String {
    let (store, tenant) = (&world.store, user.tenant);
    let people = store.users(tenant, UserFilter::default(), page(100)).await.unwrap();
    let logins = store.logins(tenant, user.id, page(100)).await.unwrap();
    let keys = store.api_keys(tenant, page(100)).await.unwrap();
    let log = store.audit_log(tenant, &AuditFilter::default(), page(100)).await.unwrap();
    let token = store.one_time(&[1; 32]).await.unwrap();
    let row = stored(world, user).await;
    let (json, seq) = (json!([people, logins, keys, log]), world.store.tenant(tenant).await.unwrap());
    format!("{json} {token:?} {seq:?} {row:?} {:?}", row.mail.as_ref().map(|mail| mail.as_str()))
}

#[allow(clippy::cognitive_complexity, reason = "one line for each read of the store, and no branch")]
pub async fn a_stranger_finds_nothing_of_another_tenant_by_its_ids(world: World) {
    let (ana, stranger) = (registered(&world, "ana").await, registered(&world, "stranger").await);
    let login = opened(&world, &ana, 1).await;
    let mine = AddedKey::to(&world, ana.tenant).await;
    let reset = SaveUser {
        issue: Some(token(Purpose::Reset, 1)),
        audit: audit(ana.tenant, "x"),
        ..save(ana.clone())
    };
    let issued = reset.issue.clone().unwrap();
    world.write(write(reset)).await.unwrap();
    let (store, other) = (&world.store, stranger.tenant);
    assert_eq!(store.user(other, ana.id).await.unwrap(), None);
    assert_eq!(store.one_time_of(other, issued.id).await.unwrap(), None);
    assert_eq!(store.login(other, ana.id, login).await.unwrap(), None);
    assert_eq!(store.login(other, stranger.id, login).await.unwrap(), None);
    assert_eq!(store.logins(other, ana.id, page(10)).await.unwrap().items, []);
    assert_eq!(store.api_key(other, mine.0).await.unwrap(), None);
    assert_eq!(store.api_keys(other, page(10)).await.unwrap().items, []);
    assert_eq!(store.keys(other).await.unwrap(), 0);
    assert_eq!(store.audit_log(other, &AuditFilter::default(), page(10)).await.unwrap().items, []);
    let theirs = store.users(other, UserFilter::default(), page(10)).await.unwrap().items;
    assert_eq!(theirs.iter().map(|user| user.user_id).collect::<Vec<_>>(), [stranger.id]);
    // The owner finds all of it.
    assert!(store.login(ana.tenant, ana.id, login).await.unwrap().is_some());
    assert!(store.api_key(ana.tenant, mine.0).await.unwrap().is_some());
    assert!(store.one_time_of(ana.tenant, issued.id).await.unwrap().is_some());
}

/// The id of a key that was added.
struct AddedKey(KeyId);

impl AddedKey {
    async fn to(world: &World, tenant: TenantId) -> Self {
        let mine = key(tenant, 1);
        world.done(Write::AddKey(mine.clone())).await;
        Self(mine.id)
    }
}

/// Each write that names something of a tenant, asked for by another: what it is refused as.
#[expect(clippy::too_many_lines, reason = "a table")]
pub async fn a_stranger_changes_nothing_of_another_tenant_by_its_ids(world: World) {
    let (ana, stranger) = (registered(&world, "ana").await, registered(&world, "stranger").await);
    let login = opened(&world, &ana, 1).await;
    let mine = AddedKey::to(&world, ana.tenant).await;
    let reset = SaveUser { issue: Some(token(Purpose::Reset, 1)), ..save(ana.clone()) };
    let issued = reset.issue.clone().unwrap();
    world.write(write(reset)).await.unwrap();
    let ana = stored(&world, &ana).await;
    let session = world.session().await;
    let other = stranger.tenant;
    let note = || audit(other, "tried");
    let as_theirs = User { tenant: other, ..ana.clone() };
    let policy = recado::domain::write::people::LockPolicy {
        free: 0,
        base: std::time::Duration::from_secs(60),
        most: std::time::Duration::from_secs(60),
    };
    let people = |write| Write::People(Box::new(write));
    let tried: Vec<(&str, Write, &str)> = vec![
        ("save", write(SaveUser { audit: note(), ..save(as_theirs.clone()) }), "user_not_found"),
        (
            "delete",
            write(SaveUser {
                audit: note(),
                ..save(User { state: UserState::Deleted, ..as_theirs.clone() })
            }),
            "user_not_found",
        ),
        (
            "take the id",
            write(SaveUser {
                expected: None,
                audit: note(),
                ..save(User { mail: Some(mail("x")), ..as_theirs.clone() })
            }),
            "changed_meanwhile",
        ),
        (
            "spend the token for oneself",
            write(SaveUser {
                spend: Some(Spend { id: issued.id, purpose: Purpose::Reset }),
                audit: note(),
                ..save(stranger.clone())
            }),
            "token_unknown",
        ),
        (
            "issue",
            people(PeopleWrite::Issue(Issue {
                tenant: other,
                user: ana.id,
                token: token(Purpose::Reset, 7),
                not_after: None,
                shard: world.fence.shard,
                audit: note(),
                at: now(),
            })),
            "user_not_found",
        ),
        (
            "sign in",
            people(PeopleWrite::SignIn(SignIn {
                tenant: other,
                user: ana.id,
                ok: false,
                policy,
                audit: note(),
                at: now(),
            })),
            "user_not_found",
        ),
        (
            "open a login",
            people(PeopleWrite::OpenLogin(OpenLogin { tenant: other, audit: note(), ..open(&ana, 5) })),
            "user_not_found",
        ),
        (
            "end a login of somebody",
            people(PeopleWrite::RevokeLogins(RevokeLogins {
                tenant: other,
                audit: note(),
                ..revoke(&ana, Logins::One(login))
            })),
            "user_not_found",
        ),
        (
            "end a login as one's own",
            people(PeopleWrite::RevokeLogins(RevokeLogins {
                audit: note(),
                ..revoke(&stranger, Logins::One(login))
            })),
            "login_not_found",
        ),
        (
            "end all logins of somebody",
            people(PeopleWrite::RevokeLogins(RevokeLogins {
                tenant: other,
                void_tokens: true,
                audit: note(),
                ..revoke(&ana, Logins::All)
            })),
            "user_not_found",
        ),
        (
            "revoke a key",
            people(PeopleWrite::RevokeKey(RevokeKey { tenant: other, id: mine.0, audit: note(), at: now() })),
            "key_not_found",
        ),
        (
            "rotate a key",
            people(PeopleWrite::RotateKey(RotateKey {
                old: mine.0,
                overlap_until: now(),
                new: recado::domain::write::AddKey { audit: note(), ..key(other, 8) },
            })),
            "key_not_found",
        ),
        (
            "command a session",
            Write::Accept(Accept {
                tenant: other,
                audit: note(),
                ..world.command(session, recado::domain::command::CommandType::Stop)
            }),
            "session_not_found",
        ),
        (
            "redrive",
            Write::Redrive(Redrive {
                tenant: other,
                id: recado::domain::ids::DeadLetterId::new(),
                response: json!({}),
                idempotency: None,
                at: now(),
                audit: note(),
            }),
            "dead_letter_not_found",
        ),
        (
            "join a tenant that is not there",
            write(SaveUser {
                audit: note(),
                ..save(User::new(
                    (TenantId(uuid::Uuid::now_v7()), recado::domain::ids::UserId::new()),
                    mail("y"),
                    Role::Owner,
                    UserState::Active,
                    now(),
                ))
            }),
            "tenant_not_found",
        ),
    ];
    let (before, theirs) = (everything(&world, &ana).await, everything(&world, &stranger).await);
    for (what, write, expected) in tried {
        let alone = world.write(write.clone()).await;
        assert_eq!(code(&alone), expected, "{what}");
        // Nor beside a write that is right.
        let batch = [Write::AddKey(key(other, 200)), write];
        let answers = world.store.commit(batch.into()).await.unwrap();
        assert_eq!(code(&answers[1]), expected, "{what}, in a batch");
        assert_eq!(everything(&world, &ana).await, before, "{what}");
    }
    let added = world.store.api_keys(other, page(10)).await.unwrap().items;
    assert_eq!(added.len(), 1, "only the key that was right");
    assert!(theirs.contains("\"items\":[]") && world.view(session).await.queued == 0);
    let log = world.store.audit_log(other, &AuditFilter::default(), page(10)).await.unwrap().items;
    assert_eq!(log, [], "what was refused is not written down");
}
