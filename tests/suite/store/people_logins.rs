//! Logins: one right token at a time, and what a wrong one means.

use std::time::Duration;

use recado::domain::Kind;
use recado::domain::identity::{AuditFilter, Login, Rotation, User, UserState};
use recado::domain::ids::LoginId;
use recado::domain::time::{Timestamp, now};
use recado::domain::write::people::{
    Logins, OpenLogin, PeopleWrite, Revocation, RevokeLogins, Rotate, SaveUser,
};
use recado::domain::write::{Outcome, Sweep, Write};

use super::people::{registered, save, stored, write};
use super::world::{World, code, later, page};

pub fn open(user: &User, secret: u8) -> OpenLogin {
    OpenLogin {
        tenant: user.tenant,
        user: user.id,
        login: LoginId::new(),
        hash: [secret; 32],
        user_agent: "a test".to_owned(),
        expires_at: later(1_000_000),
        most: 10,
        audit: None,
        at: now(),
    }
}

pub async fn opened(world: &World, user: &User, secret: u8) -> LoginId {
    let open = open(user, secret);
    let login = open.login;
    world.done(Write::People(Box::new(PeopleWrite::OpenLogin(open)))).await;
    login
}

pub fn rotation(login: LoginId, presented: u8, fresh: u8, at: Timestamp) -> Rotate {
    Rotate {
        login,
        presented: [presented; 32],
        fresh: [fresh; 32],
        grace: Duration::from_secs(10),
        expires_at: at.after(Duration::from_secs(1_000)),
        request_id: Some("request-1".to_owned()),
        client: None,
        at,
    }
}

async fn rotate(world: &World, rotate: Rotate) -> Rotation {
    match world.write(Write::People(Box::new(PeopleWrite::Rotate(rotate)))).await.unwrap() {
        Outcome::Rotated(rotation) => *rotation,
        other => panic!("{other:?}"),
    }
}

pub fn revoke(user: &User, logins: Logins) -> RevokeLogins {
    RevokeLogins {
        tenant: user.tenant,
        user: user.id,
        logins,
        reason: "logout",
        void_tokens: false,
        audit: None,
        at: now(),
    }
}

async fn open_ones(world: &World, user: &User) -> Vec<LoginId> {
    let found = world.store.logins(user.tenant, user.id, page(100)).await.unwrap();
    found.items.into_iter().map(|login| login.login_id).collect()
}

async fn one(world: &World, user: &User, login: LoginId) -> Login {
    world.store.login(user.tenant, user.id, login).await.unwrap().unwrap()
}

pub async fn a_token_is_renewed_and_the_one_before_is_a_race_and_then_a_theft(world: World) {
    let ana = registered(&world, "ana").await;
    let login = opened(&world, &ana, 1).await;
    let start = now();
    let Rotation::Rotated(renewed) = rotate(&world, rotation(login, 1, 2, start)).await else { panic!() };
    assert_eq!((renewed.generation, renewed.tenant_id, renewed.user_id), (2, ana.tenant, ana.id));
    assert_eq!(renewed, one(&world, &ana, login).await);
    // The client asked twice: told so, and nothing is lost.
    let soon = start.after(Duration::from_secs(9));
    assert_eq!(rotate(&world, rotation(login, 1, 3, soon)).await, Rotation::Superseded);
    assert!(matches!(rotate(&world, rotation(login, 2, 4, soon)).await, Rotation::Rotated(_)));
    // An old one, within the time of a race or not, is a theft.
    let Rotation::Reused(stolen) = rotate(&world, rotation(login, 1, 5, soon)).await else { panic!() };
    assert_eq!(stolen.user_id, ana.id);
    assert_eq!(
        rotate(&world, rotation(login, 4, 6, soon)).await,
        Rotation::Revoked,
        "the right one is void too"
    );
    let ended = one(&world, &ana, login).await;
    assert_eq!((ended.revoked_reason.as_deref(), ended.revoked_at), (Some("reused"), Some(soon)));
    let log = world.store.audit_log(ana.tenant, &AuditFilter::default(), page(10)).await.unwrap().items;
    assert_eq!(log.len(), 1, "once, however often it is presented");
    assert_eq!((log[0].action.as_str(), log[0].request_id.as_deref()), ("login.reused", Some("request-1")));
    assert_eq!(log[0].target.as_ref().unwrap().id, login.to_string());
}

pub async fn of_a_token_presented_twenty_times_at_once_one_is_renewed_and_none_ends_the_family(world: World) {
    let ana = registered(&world, "ana").await;
    let login = opened(&world, &ana, 1).await;
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..20 {
        let store = world.store.clone();
        asking.spawn(async move {
            let wanted = rotation(login, 1, 100 + n, now());
            let batch = [Write::People(Box::new(PeopleWrite::Rotate(wanted)))];
            match store.commit(batch.into()).await.unwrap().pop().unwrap().unwrap() {
                Outcome::Rotated(rotation) => *rotation,
                other => panic!("{other:?}"),
            }
        });
    }
    let answers = asking.join_all().await;
    let renewed = answers.iter().filter(|answer| matches!(answer, Rotation::Rotated(_))).count();
    let raced = answers.iter().filter(|answer| **answer == Rotation::Superseded).count();
    assert_eq!((renewed, raced), (1, 19));
    assert_eq!(one(&world, &ana, login).await.revoked_at, None);
}

pub async fn a_login_ends_by_age_and_with_whoever_may_not_log_in(world: World) {
    let ana = registered(&world, "ana").await;
    let eva = User::new(
        (ana.tenant, recado::domain::ids::UserId::new()),
        super::people::mail("eva"),
        recado::domain::identity::Role::Member,
        UserState::Active,
        now(),
    );
    world.write(write(save(eva.clone()))).await.unwrap();
    let eva = stored(&world, &eva).await;
    let (old, other) = (opened(&world, &eva, 1).await, opened(&world, &eva, 2).await);
    let late = later(1_000_001);
    assert_eq!(rotate(&world, rotation(old, 1, 3, late)).await, Rotation::Expired);
    assert_eq!(rotate(&world, rotation(LoginId::new(), 1, 3, now())).await, Rotation::Unknown);
    world.write(write(save(User { state: UserState::Suspended, ..eva.clone() }))).await.unwrap();
    assert_eq!(open_ones(&world, &eva).await, []);
    assert_eq!(rotate(&world, rotation(other, 2, 3, now())).await, Rotation::Revoked);
    let answer = world.write(Write::People(Box::new(PeopleWrite::OpenLogin(open(&eva, 7))))).await;
    assert_eq!((answer.as_ref().unwrap_err().kind, code(&answer)), (Kind::Forbidden, "user_not_active"));
    let back = stored(&world, &eva).await;
    world.write(write(save(User { state: UserState::Active, ..back }))).await.unwrap();
    assert_eq!(
        rotate(&world, rotation(other, 2, 3, now())).await,
        Rotation::Revoked,
        "it does not come back"
    );
}

pub async fn logins_end_one_by_one_or_all_but_one_or_all(world: World) {
    let ana = registered(&world, "ana").await;
    let mut logins = Vec::new();
    for secret in 1..=4 {
        logins.push(opened(&world, &ana, secret).await);
    }
    let end = async |which, void_tokens| {
        let revoke = RevokeLogins { void_tokens, ..revoke(&ana, which) };
        world.done(Write::People(Box::new(PeopleWrite::RevokeLogins(revoke)))).await;
        open_ones(&world, &ana).await
    };
    assert_eq!(end(Logins::One(logins[0]), false).await, [logins[3], logins[2], logins[1]]);
    assert_eq!(end(Logins::AllBut(logins[2]), false).await, [logins[2]]);
    assert_eq!(stored(&world, &ana).await.tokens_after, None);
    assert_eq!(end(Logins::All, true).await, []);
    let after = stored(&world, &ana).await;
    assert!(after.tokens_after.is_some());
    assert_eq!(after.version, ana.version, "nobody's change is refused for it");
    // And a change made from an older view does not bring them back.
    world.write(write(save(ana.clone()))).await.unwrap();
    assert_eq!(stored(&world, &ana).await.tokens_after, after.tokens_after);
}

pub async fn a_change_of_password_ends_the_other_logins(world: World) {
    let ana = registered(&world, "ana").await;
    let (here, there) = (opened(&world, &ana, 1).await, opened(&world, &ana, 2).await);
    let revoke = Some(Revocation { except: Some(here), reason: "password_changed" });
    world.write(write(SaveUser { revoke, ..save(ana.clone()) })).await.unwrap();
    assert_eq!(open_ones(&world, &ana).await, [here]);
    assert_eq!(one(&world, &ana, there).await.revoked_reason.as_deref(), Some("password_changed"));
}

pub async fn beyond_the_most_logins_the_one_unused_for_longest_goes(world: World) {
    let ana = registered(&world, "ana").await;
    let mut logins = Vec::new();
    for (nth, secret) in (1..=3).enumerate() {
        let at = now().before(Duration::from_secs(100 - u64::try_from(nth).unwrap()));
        let open = OpenLogin { most: 3, at, ..open(&ana, secret) };
        logins.push(open.login);
        world.done(Write::People(Box::new(PeopleWrite::OpenLogin(open)))).await;
    }
    // The first one is used, so the second one goes.
    assert!(matches!(rotate(&world, rotation(logins[0], 1, 11, now())).await, Rotation::Rotated(_)));
    let fourth = OpenLogin { most: 3, ..open(&ana, 4) };
    let newest = fourth.login;
    world.done(Write::People(Box::new(PeopleWrite::OpenLogin(fourth)))).await;
    assert_eq!(open_ones(&world, &ana).await, [newest, logins[2], logins[0]]);
    assert_eq!(one(&world, &ana, logins[1]).await.revoked_reason.as_deref(), Some("crowded_out"));
}

pub async fn what_is_long_expired_is_swept_away(world: World) {
    let ana = registered(&world, "ana").await;
    let fresh = opened(&world, &ana, 1).await;
    let past = now().before(Duration::from_secs(100));
    let old = OpenLogin { expires_at: past, ..open(&ana, 2) };
    let expired = old.login;
    world.done(Write::People(Box::new(PeopleWrite::OpenLogin(old)))).await;
    for (secret, expires_at) in [(1, past), (2, later(1_000))] {
        let token = recado::domain::identity::Purpose::Invite;
        let issue =
            recado::domain::write::people::NewOneTime { expires_at, ..super::people::token(token, secret) };
        let ana = stored(&world, &ana).await;
        world.write(write(SaveUser { issue: Some(issue), ..save(ana) })).await.unwrap();
    }
    let sweep = |keys_before| Write::Sweep(Sweep { fence: world.fence, at: now(), keys_before, limit: 100 });
    let Outcome::Swept(kept) = world.write(sweep(past)).await.unwrap() else { panic!() };
    assert_eq!(kept, 0, "what expired only just is still known");
    let Outcome::Swept(gone) = world.write(sweep(past.after(Duration::from_secs(1)))).await.unwrap() else {
        panic!()
    };
    assert_eq!(gone, 2);
    assert!(world.store.login(ana.tenant, ana.id, expired).await.unwrap().is_none());
    assert!(world.store.login(ana.tenant, ana.id, fresh).await.unwrap().is_some());
    assert!(world.store.one_time(&[1; 32]).await.unwrap().is_none());
    assert!(world.store.one_time(&[2; 32]).await.unwrap().is_some());
}
