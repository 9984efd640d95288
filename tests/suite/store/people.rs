//! People: how they come, change and go, and what is told and written down of it.

use std::time::Duration;

use recado::domain::Kind;
use recado::domain::event::{Event, EventType, Log};
use recado::domain::identity::{
    Actor, AuditEntry, AuditFilter, Locale, MailAddress, PasswordHash, Purpose, Role, User, UserFilter,
    UserState,
};
use recado::domain::ids::{OneTimeId, Position, TenantId, UserId};
use recado::domain::time::now;
use recado::domain::view::EventFilter;
use recado::domain::write::people::{
    Issue, LockPolicy, NewOneTime, OpenLogin, PeopleWrite, SaveTenant, SaveUser, SignIn, Spend,
};
use recado::domain::write::{Outcome, Write};
use serde_json::json;
use uuid::Uuid;

use super::world::{World, code, key, later, page};

pub fn mail(name: &str) -> MailAddress {
    format!("{name}@example.org").parse().unwrap()
}

/// Somebody new in a tenant that is there.
pub fn save(user: User) -> SaveUser {
    SaveUser {
        expected: (user.version > 0).then_some(user.version),
        tenant: None,
        spend: None,
        issue: None,
        unlock: false,
        revoke: None,
        events: Vec::new(),
        shard: recado::domain::ids::Shard(0),
        response: json!({"userId": user.id}),
        idempotency: None,
        audit: None,
        at: now(),
        user,
    }
}

pub fn write(save: SaveUser) -> Write {
    Write::People(Box::new(PeopleWrite::SaveUser(save)))
}

/// An owner in a tenant of their own, as registration makes them.
pub fn register(name: &str) -> SaveUser {
    let ids = (TenantId(Uuid::now_v7()), UserId::new());
    let mut user = User::new(ids, mail(name), Role::Owner, UserState::Active, now());
    user.password = Some(PasswordHash("$argon2id$stub".to_owned()));
    SaveUser { tenant: Some(format!("{name}'s")), events: vec![EventType::UserRegistered], ..save(user) }
}

pub fn token(purpose: Purpose, secret: u8) -> NewOneTime {
    let (id, hash) = (OneTimeId::new(), [secret; 32]);
    NewOneTime { id, purpose, hash, mail: None, expires_at: later(60_000), locale: Locale::Es }
}

pub fn audit(tenant: TenantId, action: &str) -> Option<Box<AuditEntry>> {
    Some(Box::new(AuditEntry::new(tenant, Actor::SYSTEM, action, now())))
}

/// Somebody as they are stored.
pub async fn stored(world: &World, user: &User) -> User {
    world.store.user(user.tenant, user.id).await.unwrap().unwrap()
}

/// An owner, stored.
pub async fn registered(world: &World, name: &str) -> User {
    let save = register(name);
    let user = save.user.clone();
    world.write(write(save)).await.unwrap();
    stored(world, &user).await
}

/// The events of a tenant itself.
async fn events(world: &World, tenant: TenantId) -> Vec<Event> {
    world.settle().await;
    let entries = world.store.log_after(world.fence.shard, Log::DomainEvents, Position(0), 1_000).await;
    let events = entries.unwrap().into_iter().map(|entry| (*entry.event).clone());
    events.filter(|event| event.tenant_id == tenant && event.session_id.is_none()).collect()
}

async fn actions(world: &World, tenant: TenantId) -> Vec<String> {
    let log = world.store.audit_log(tenant, &AuditFilter::default(), page(100)).await.unwrap();
    log.items.into_iter().map(|entry| entry.action).collect()
}

pub async fn somebody_registers_with_a_tenant_a_token_and_events(world: World) {
    let mut save = register("ana");
    let (tenant, id) = (save.user.tenant, save.user.id);
    save.user.state = UserState::PendingVerification;
    save.user.name = Some("Ana".parse().unwrap());
    save.issue = Some(token(Purpose::Verify, 1));
    save.audit = audit(tenant, "user.registered");
    let issued = save.issue.clone().unwrap();
    world.write(write(save)).await.unwrap();

    let user = world.store.user_by_mail(&mail("ana")).await.unwrap().unwrap();
    assert_eq!((user.id, user.tenant, user.version, user.failures), (id, tenant, 1, 0));
    assert_eq!((user.state, user.role), (UserState::PendingVerification, Role::Owner));
    assert_eq!(user, stored(&world, &user).await);
    assert_eq!(world.store.tenant(tenant).await.unwrap().unwrap().name.as_deref(), Some("ana's"));
    let found = world.store.one_time(&[1; 32]).await.unwrap().unwrap();
    assert_eq!((found.id, found.user, found.tenant, found.used_at), (issued.id, id, tenant, None));
    assert_eq!(world.store.one_time_of(tenant, issued.id).await.unwrap(), Some(found));

    let told = events(&world, tenant).await;
    let kinds: Vec<_> = told.iter().map(|event| (event.kind.as_str(), event.seq)).collect();
    assert_eq!(kinds, [("user.registered", 1), ("user.token_issued", 2)]);
    assert_eq!(told[0].data, json!({"userId": id, "role": "owner", "state": "pending_verification"}));
    assert_eq!(
        told[1].data,
        json!({"userId": id, "tokenId": issued.id, "purpose": "verify", "locale": "es"})
    );
    assert_eq!(actions(&world, tenant).await, ["user.registered"]);
    world.check(crate::invariants::Open::Refused).await;
}

pub async fn a_mail_address_is_one_persons_and_free_again_when_they_are_gone(world: World) {
    let ana = registered(&world, "ana").await;
    let again = register("ana");
    assert_eq!(code(&world.write(write(again.clone())).await), "mail_taken");
    assert!(world.store.tenant(again.user.tenant).await.unwrap().is_none(), "a refusal makes no tenant");
    let mut other = registered(&world, "eva").await;
    other.mail = Some(mail("ana"));
    assert_eq!(code(&world.write(write(save(other))).await), "mail_taken");
    // Two of one batch.
    let both = [write(register("leo")), write(register("leo"))];
    let answers = world.store.commit(both.into()).await.unwrap();
    assert_eq!((answers[0].is_ok(), code(&answers[1])), (true, "mail_taken"));

    let mut second =
        User::new((ana.tenant, UserId::new()), mail("owner2"), Role::Owner, UserState::Active, now());
    world.write(write(save(second.clone()))).await.unwrap();
    second = stored(&world, &second).await;
    assert_eq!(second.version, 1);
    world.write(write(save(User { state: UserState::Deleted, ..ana }))).await.unwrap();
    world.write(write(again)).await.unwrap();
}

pub async fn a_change_from_an_old_version_is_refused(world: World) {
    let ana = registered(&world, "ana").await;
    let named = |user: &User, name: &str| {
        let name = Some(name.parse().unwrap());
        write(save(User { name, ..user.clone() }))
    };
    world.write(named(&ana, "Ana")).await.unwrap();
    let refusal = world.write(named(&ana, "Anna")).await.unwrap_err();
    assert_eq!((refusal.kind, refusal.code), (Kind::Conflict, "changed_meanwhile"));
    let now = stored(&world, &ana).await;
    assert_eq!((now.version, now.name.unwrap().as_str()), (2, "Ana"));
    assert_eq!(now.created_at, ana.created_at);
    // An id that is there is nobody new.
    assert_eq!(
        code(&world.write(write(SaveUser { expected: None, ..save(ana) })).await),
        "changed_meanwhile"
    );
}

pub async fn states_go_only_where_they_lead(world: World) {
    let ana = registered(&world, "ana").await;
    let invited =
        User::new((ana.tenant, UserId::new()), mail("eva"), Role::Member, UserState::Invited, now());
    world.write(write(save(invited.clone()))).await.unwrap();
    let mut eva = stored(&world, &invited).await;
    for (state, expected) in [
        (UserState::Suspended, "user_state"),
        (UserState::PendingVerification, "user_state"),
        (UserState::Active, ""),
        (UserState::Invited, "user_state"),
        (UserState::Suspended, ""),
        (UserState::Active, ""),
        (UserState::Deleted, ""),
        (UserState::Active, "user_state"),
        (UserState::Deleted, "user_state"),
    ] {
        let answer = world.write(write(save(User { state, ..eva.clone() }))).await;
        assert_eq!(code(&answer), expected, "{} to {state}", eva.state);
        eva = stored(&world, &eva).await;
    }
    let suspended =
        User::new((ana.tenant, UserId::new()), mail("leo"), Role::Member, UserState::Suspended, now());
    assert_eq!(world.write(write(save(suspended))).await.unwrap_err().kind, Kind::Bug);
}

pub async fn a_token_is_spent_once_in_time_and_for_its_purpose(world: World) {
    let mut save_one = register("ana");
    save_one.user.state = UserState::PendingVerification;
    save_one.issue = Some(token(Purpose::Verify, 1));
    let first = save_one.issue.clone().unwrap();
    let user = save_one.user.clone();
    world.write(write(save_one)).await.unwrap();
    let ana = stored(&world, &user).await;
    let verify = |ana: &User, id, purpose, at| {
        let spend = Some(Spend { id, purpose });
        write(SaveUser { spend, at, ..save(User { state: UserState::Active, ..ana.clone() }) })
    };
    for (id, purpose, at, expected) in [
        (OneTimeId::new(), Purpose::Verify, now(), "token_unknown"),
        (first.id, Purpose::Reset, now(), "token_unknown"),
        (first.id, Purpose::Verify, first.expires_at, "token_expired"),
    ] {
        let refusal = world.write(verify(&ana, id, purpose, at)).await.unwrap_err();
        assert_eq!((refusal.kind, refusal.code), (Kind::Unauthorized, expected));
    }
    assert_eq!(stored(&world, &ana).await, ana, "a refusal changes nothing");
    // Two at once: one.
    let both =
        [verify(&ana, first.id, Purpose::Verify, now()), verify(&ana, first.id, Purpose::Verify, now())];
    let answers = world.store.commit(both.into()).await.unwrap();
    assert_eq!((answers[0].is_ok(), code(&answers[1])), (true, "token_spent"));
    assert!(world.store.one_time(&[1; 32]).await.unwrap().unwrap().used_at.is_some());
    let ana = stored(&world, &ana).await;
    assert_eq!(code(&world.write(verify(&ana, first.id, Purpose::Verify, now())).await), "token_spent");
}

pub async fn a_new_token_voids_the_one_before_it(world: World) {
    let ana = registered(&world, "ana").await;
    let issue = |secret, purpose, not_after| {
        Write::People(Box::new(PeopleWrite::Issue(Issue {
            tenant: ana.tenant,
            user: ana.id,
            token: token(purpose, secret),
            not_after,
            shard: world.fence.shard,
            audit: audit(ana.tenant, "user.reset_asked"),
            at: now(),
        })))
    };
    world.done(issue(1, Purpose::Reset, None)).await;
    world.done(issue(2, Purpose::Invite, None)).await;
    world.done(issue(3, Purpose::Reset, None)).await;
    let good = async |secret| world.store.one_time(&[secret; 32]).await.unwrap().unwrap().good(later(1));
    assert_eq!((good(1).await, good(2).await, good(3).await), (false, true, true));
    // Not a flood of them.
    world.done(issue(4, Purpose::Reset, Some(now().before(Duration::from_secs(60))))).await;
    assert!(world.store.one_time(&[4; 32]).await.unwrap().is_none());
    assert!(good(3).await);
    let told = events(&world, ana.tenant).await;
    assert_eq!(told.iter().filter(|event| event.kind == "user.token_issued").count(), 3);
    assert_eq!(actions(&world, ana.tenant).await, ["user.reset_asked"; 3]);
}

pub async fn a_tenant_keeps_one_active_owner(world: World) {
    let ana = registered(&world, "ana").await;
    let changes = |user: &User| {
        [
            User { role: Role::Admin, ..user.clone() },
            User { state: UserState::Suspended, ..user.clone() },
            User { state: UserState::Deleted, ..user.clone() },
        ]
    };
    let eva = User::new((ana.tenant, UserId::new()), mail("eva"), Role::Owner, UserState::Invited, now());
    world.write(write(save(eva.clone()))).await.unwrap();
    for change in changes(&ana) {
        let refusal = world.write(write(save(change))).await.unwrap_err();
        assert_eq!(
            (refusal.kind, refusal.code),
            (Kind::Conflict, "last_owner"),
            "an invited owner is none yet"
        );
    }
    let eva = stored(&world, &eva).await;
    world.write(write(save(User { state: UserState::Active, ..eva.clone() }))).await.unwrap();
    let eva = stored(&world, &eva).await;
    // Both at once: one of them stays.
    let both = [&ana, &eva].map(|user| write(save(User { role: Role::Admin, ..user.clone() })));
    let answers = world.store.commit(both.into()).await.unwrap();
    assert_eq!((answers[0].is_ok(), code(&answers[1])), (true, "last_owner"));
    // Another tenant's owners do not count.
    registered(&world, "leo").await;
    for change in changes(&stored(&world, &eva).await) {
        assert_eq!(code(&world.write(write(save(change))).await), "last_owner");
    }
}

pub async fn whoever_is_deleted_is_forgotten_but_for_the_audit_log(world: World) {
    let owner = registered(&world, "owner").await;
    let eva = User::new((owner.tenant, UserId::new()), mail("eva"), Role::Member, UserState::Active, now());
    let mut first = save(User {
        name: Some("Eva".parse().unwrap()),
        password: Some(PasswordHash("$argon2id$stub".to_owned())),
        pending_mail: Some(mail("eva2")),
        ..eva.clone()
    });
    first.issue = Some(NewOneTime { mail: Some(mail("eva2")), ..token(Purpose::ChangeMail, 1) });
    world.write(write(first)).await.unwrap();
    let stored_eva = stored(&world, &eva).await;
    let gone = SaveUser {
        audit: audit(owner.tenant, "user.deleted"),
        events: vec![EventType::UserDeleted],
        ..save(User { state: UserState::Deleted, ..stored_eva })
    };
    world.write(write(gone)).await.unwrap();
    let eva = stored(&world, &eva).await;
    assert_eq!((&eva.mail, &eva.name, &eva.password, &eva.pending_mail), (&None, &None, &None, &None));
    assert!(eva.deleted_at.is_some() && eva.tokens_after.is_some());
    assert!(world.store.one_time(&[1; 32]).await.unwrap().is_none());
    assert!(world.store.user_by_mail(&mail("eva")).await.unwrap().is_none());
    let people = async |filter| {
        let found = world.store.users(owner.tenant, filter, page(10)).await.unwrap();
        found.items.into_iter().map(|user| user.user_id).collect::<Vec<_>>()
    };
    assert_eq!(people(UserFilter::default()).await, [owner.id]);
    assert_eq!(people(UserFilter { state: Some(UserState::Deleted), role: None }).await, [eva.id]);
    assert_eq!(people(UserFilter { state: None, role: Some(Role::Viewer) }).await, []);
    assert_eq!(actions(&world, owner.tenant).await, ["user.deleted"]);
}

pub async fn wrong_passwords_lock_out_and_a_right_one_forgives(world: World) {
    let ana = registered(&world, "ana").await;
    let policy = LockPolicy { free: 2, base: Duration::from_secs(60), most: Duration::from_secs(600) };
    let try_at = async |ok, at| {
        let tried = SignIn { tenant: ana.tenant, user: ana.id, ok, policy, audit: None, at };
        match world.write(Write::People(Box::new(PeopleWrite::SignIn(tried)))).await.unwrap() {
            Outcome::SignedIn(state) => state,
            other => panic!("{other:?}"),
        }
    };
    let start = now();
    let wrong = async |at| try_at(false, at).await;
    assert_eq!(wrong(start).await.locked_until, None);
    assert_eq!(wrong(start).await.locked_until, None);
    let locked = wrong(start).await.locked_until.unwrap();
    assert_eq!(locked, start.after(Duration::from_secs(60)));
    let right = try_at(true, start).await;
    assert_eq!((right.ok, right.failures), (false, 3), "not while locked out");
    let right = try_at(true, locked).await;
    assert_eq!((right.ok, right.failures, right.locked_until), (true, 0, None));
    let ana_now = stored(&world, &ana).await;
    assert_eq!((ana_now.failures, ana_now.locked_until, ana_now.version), (0, None, ana.version));
    // Counted whatever is changed from an older view meanwhile.
    wrong(start).await;
    world.write(write(save(User { name: Some("Ana".parse().unwrap()), ..ana_now }))).await.unwrap();
    assert_eq!(stored(&world, &ana).await.failures, 1);
    let ana_now = stored(&world, &ana).await;
    world.write(write(SaveUser { unlock: true, ..save(ana_now) })).await.unwrap();
    assert_eq!(stored(&world, &ana).await.failures, 0);
}

pub async fn a_repeated_invitation_is_answered_once(world: World) {
    let ana = registered(&world, "ana").await;
    let eva = User::new((ana.tenant, UserId::new()), mail("eva"), Role::Member, UserState::Invited, now());
    let invite = SaveUser {
        idempotency: key("once", 1),
        audit: audit(ana.tenant, "user.invited"),
        events: vec![EventType::UserInvited],
        issue: Some(token(Purpose::Invite, 1)),
        ..save(eva)
    };
    for expected in [false, true] {
        let Outcome::Accepted { replayed, .. } = world.write(write(invite.clone())).await.unwrap() else {
            panic!()
        };
        assert_eq!(replayed, expected);
    }
    assert_eq!(actions(&world, ana.tenant).await, ["user.invited"]);
    let other = SaveUser { idempotency: key("once", 2), ..invite };
    assert_eq!(code(&world.write(write(other)).await), "idempotency_key_reused");
}

pub async fn a_suspended_tenant_signs_nobody_in(world: World) {
    let ana = registered(&world, "ana").await;
    let set = |suspended| {
        let tenant = ana.tenant;
        let change = SaveTenant { tenant, name: None, suspended: Some(suspended), audit: None, at: now() };
        Write::People(Box::new(PeopleWrite::SaveTenant(change)))
    };
    world.done(Write::AddKey(super::tenants::key(ana.tenant, 9))).await;
    world.done(set(true)).await;
    assert!(world.store.tenant(ana.tenant).await.unwrap().unwrap().suspended_at.is_some());
    let key = world.store.key(&[9; 32]).await.unwrap().unwrap();
    assert!(key.tenant_suspended && !key.good(now()));
    let open = OpenLogin { ..super::people_logins::open(&ana, 1) };
    let answer = world.write(Write::People(Box::new(PeopleWrite::OpenLogin(open.clone())))).await;
    assert_eq!((answer.as_ref().unwrap_err().kind, code(&answer)), (Kind::Forbidden, "tenant_suspended"));
    world.done(set(false)).await;
    world.done(Write::People(Box::new(PeopleWrite::OpenLogin(open)))).await;
    let tenants = world.store.tenants(page(10)).await.unwrap().items;
    assert_eq!(tenants.iter().map(|tenant| tenant.tenant_id).collect::<Vec<_>>(), [ana.tenant]);
}

pub async fn events_of_people_are_shown_to_whom_may_see_them(world: World) {
    let ana = registered(&world, "ana").await;
    world.settle().await;
    let seen = async |filter: EventFilter| {
        let found = world.store.events(world.fence.shard, &filter, Position(0), 10).await.unwrap();
        assert!(found.0.iter().all(|event| filter.wants(event)));
        found.0.len()
    };
    let mine = EventFilter { tenant: Some(ana.tenant), ..EventFilter::default() };
    assert_eq!(seen(mine.clone()).await, 0);
    assert_eq!(seen(EventFilter { people: true, ..mine.clone() }).await, 1);
    let session = Some(recado::domain::ids::SessionId(ana.tenant.0));
    assert_eq!(seen(EventFilter { people: true, session, ..mine }).await, 0, "a tenant is no session");
}

pub async fn a_tenants_events_are_numbered_one_by_one_among_many_writers(world: World) {
    let ana = registered(&world, "ana").await;
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..16_u8 {
        let (store, tenant) = (world.store.clone(), ana.tenant);
        writers.spawn(async move {
            let user = User::new(
                (tenant, UserId::new()),
                mail(&format!("user{n}")),
                Role::Member,
                UserState::Invited,
                now(),
            );
            let one = SaveUser { events: vec![EventType::UserInvited], ..save(user) };
            store.commit([write(one)].into()).await.unwrap().pop().unwrap().unwrap();
        });
    }
    writers.join_all().await;
    let seqs: Vec<_> = events(&world, ana.tenant).await.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=17).collect::<Vec<i64>>());
    world.check(crate::invariants::Open::Refused).await;
}
