//! The second wall between tenants: row-level security, for a role that it holds.

use recado::domain::identity::{AuditFilter, User, UserFilter};
use recado::domain::ids::{Position, SessionId};
use recado::domain::view::EventFilter;
use recado::domain::write::{CreateSession, Write};
use recado::infra::store::backup::{Backups, PostgresBackups, restore_postgres};
use recado::infra::store::{People, Store};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use super::{beside, count, run, store, world};
use crate::store::people::{audit, registered, save, token, write};
use crate::store::people_logins::opened;
use crate::store::tenants::key;
use crate::store::world::{Fixture, World, page};

/// Every table with rows of tenants, and which column says whose.
async fn tables(conn: &mut PgConnection) -> Vec<(String, &'static str, bool)> {
    let sql = "select c.relname::text, c.relrowsecurity and c.relforcerowsecurity from pg_class c \
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition \
        and (c.relname = 'tenants' or exists (select from pg_attribute a where a.attrelid = c.oid \
            and a.attname = 'tenant_id' and not a.attisdropped)) order by 1";
    let rows = sqlx::query(sql).fetch_all(conn).await.unwrap();
    let table = |row: &sqlx::postgres::PgRow| {
        let name: String = row.get(0);
        let owner = if name == "tenants" { "id" } else { "tenant_id" };
        (name, owner, row.get(1))
    };
    rows.iter().map(table).collect()
}

/// Somebody with a row of everything that a tenant has.
async fn filled(world: &World, name: &str) -> (User, SessionId) {
    let user = registered(world, name).await;
    opened(world, &user, name.as_bytes()[0]).await;
    let secret = name.as_bytes()[1];
    world.done(Write::AddKey(key(user.tenant, secret))).await;
    let reset = token(recado::domain::identity::Purpose::Reset, secret);
    let noted = audit(user.tenant, "user.reset_asked");
    let change =
        recado::domain::write::people::SaveUser { issue: Some(reset), audit: noted, ..save(user.clone()) };
    world.write(write(change)).await.unwrap();
    let create = CreateSession { tenant: user.tenant, ..world.create() };
    let session = create.session;
    world.write(Write::CreateSession(create)).await.unwrap();
    let accept = recado::domain::write::Accept { tenant: user.tenant, ..world.message(session, "hola") };
    world.accept(&accept).await.unwrap();
    world.settle().await;
    (user, session)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_forgets_its_tenant_sees_no_foreign_rows() {
    let (world, url) = world().await;
    let (ana, _) = filled(&world, "ana").await;
    let (eva, _) = filled(&world, "eva").await;
    let mut conn = url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
    let all = tables(&mut conn).await;
    assert!(all.len() >= 18, "{all:?}");
    let mut seen = Vec::new();
    for (table, owner, walled) in &all {
        assert!(walled, "{table} has rows of tenants and no wall");
        run(&mut conn, "reset recado.tenant").await;
        assert_eq!(count(&mut conn, &format!("select count(*) from {table}")).await, 0, "{table}");
        run(&mut conn, &format!("set recado.tenant = '{}'", ana.tenant)).await;
        let foreign = format!("select count(*) from {table} where {owner} <> '{}'", ana.tenant);
        assert_eq!(count(&mut conn, &foreign).await, 0, "{table}");
        let mine = count(&mut conn, &format!("select count(*) from {table}")).await;
        run(&mut conn, "set recado.tenant = '*'").await;
        let theirs = format!("select count(*) from {table} where {owner} = '{}'", eva.tenant);
        if mine > 0 {
            assert!(count(&mut conn, &theirs).await > 0, "{table}");
            seen.push(table.as_str());
        }
    }
    for table in [
        "api_keys",
        "audit_log",
        "commands",
        "events",
        "logins",
        "one_time_tokens",
        "session_chats",
        "session_messages",
        "sessions",
        "tenants",
        "users",
    ] {
        assert!(seen.contains(&table), "{table} was empty: {seen:?}");
    }
    run(&mut conn, &format!("set recado.tenant = '{}'", ana.tenant)).await;
    for sql in ["update users set failures = 7", "update sessions set reason = 'x'", "delete from logins"] {
        run(&mut conn, sql).await;
    }
    run(&mut conn, "set recado.tenant = '*'").await;
    let untouched = format!("select count(*) from users where failures = 0 and tenant_id = '{}'", eva.tenant);
    assert_eq!(count(&mut conn, &untouched).await, 1);
    let kept = format!("select count(*) from logins where tenant_id = '{}'", eva.tenant);
    assert_eq!(count(&mut conn, &kept).await, 1);
}

/// What a tenant's reads find, as numbers.
async fn found(store: &dyn Store, (ana, session): (&User, SessionId)) -> Vec<usize> {
    let tenant = ana.tenant;
    let filter = EventFilter { tenant: Some(tenant), people: true, ..EventFilter::default() };
    let shard = recado::domain::ids::Shard(0);
    vec![
        usize::from(store.tenant(tenant).await.unwrap().is_some()),
        usize::from(store.user(tenant, ana.id).await.unwrap().is_some()),
        store.users(tenant, UserFilter::default(), page(10)).await.unwrap().items.len(),
        store.logins(tenant, ana.id, page(10)).await.unwrap().items.len(),
        store.api_keys(tenant, page(10)).await.unwrap().items.len(),
        usize::try_from(store.keys(tenant).await.unwrap()).unwrap(),
        store.audit_log(tenant, &AuditFilter::default(), page(10)).await.unwrap().items.len(),
        usize::from(store.session(tenant, session).await.unwrap().is_some()),
        store.sessions(tenant, page(10)).await.unwrap().items.len(),
        store.chats(tenant, None, page(10)).await.unwrap().items.len(),
        store.events(shard, &filter, Position(0), 100).await.unwrap().0.len().min(1),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_a_tenant_is_asked_behind_the_wall() {
    let (world, url) = world().await;
    asks_behind_the_wall(world, &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_superuser_steps_down_to_ask_for_a_tenant() {
    let url = crate::database().await.replace(crate::WALLED, crate::OWNER);
    let world = World::new(Fixture { store: store(&url).await, keep: Box::new(()) }).await;
    asks_behind_the_wall(world, &url).await;
}

async fn asks_behind_the_wall(world: World, url: &str) {
    let (ana, session) = filled(&world, "ana").await;
    assert_eq!(found(&*world.store, (&ana, session)).await, [1; 11]);
    // Walls without a door for tenants: what still finds something did not ask as a tenant.
    let mut conn = beside(url).await;
    for (table, ..) in tables(&mut conn).await {
        let shut = format!(
            "alter policy {table}_seen on {table} using (current_setting('recado.tenant', true) = '*')"
        );
        run(&mut conn, &shut).await;
    }
    assert_eq!(found(&*world.store, (&ana, session)).await, [0; 11]);
    // The service's own work goes on, on the same connections.
    assert!(world.store.owned_session(session).await.unwrap().is_some());
    assert!(world.store.user_by_mail(ana.mail.as_ref().unwrap()).await.unwrap().is_some());
    world.store.probe().await.unwrap();
    world.check(crate::invariants::Open::Allowed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_log_is_neither_changed_nor_cut_by_anybody() {
    let (world, url) = world().await;
    filled(&world, "ana").await;
    let mut conn = beside(&url).await;
    for sql in [
        "update audit_log set action = 'x'",
        "delete from audit_log",
        "truncate audit_log",
        "insert into audit_log select * from audit_log on conflict (id) do update set action = 'x'",
    ] {
        let refusal = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.unwrap_err();
        let code = refusal.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
        assert_eq!(code.as_deref(), Some("RC002"), "{sql}: {refusal}");
    }
    assert_eq!(count(&mut conn, "select count(*) from audit_log where action = 'user.reset_asked'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_by_a_role_behind_the_wall_is_whole_and_restores_the_wall() {
    let (world, url) = world().await;
    let (ana, session) = filled(&world, "ana").await;
    let before = found(&*world.store, (&ana, session)).await;
    let folder = tempfile::tempdir().unwrap();
    let written = PostgresBackups::at(&url).unwrap().backup(folder.path()).await.unwrap();
    assert_eq!(written.contents.rows["users"], 1);
    assert!(written.contents.rows["audit_log"] > 0 && written.contents.rows["session_messages"] == 1);
    let other = crate::database().await;
    restore_postgres(&other, &written.file).await.unwrap();
    let restored = store(&other).await;
    assert_eq!(found(&*restored, (&ana, session)).await, before);
    assert_eq!(
        restored.user(ana.tenant, ana.id).await.unwrap(),
        world.store.user(ana.tenant, ana.id).await.unwrap()
    );
    let mut conn = beside(&other).await;
    assert!(tables(&mut conn).await.iter().all(|(_, _, walled)| *walled), "the wall stands again");
}
