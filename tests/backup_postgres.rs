//! Backup and restore on a real Postgres, over tables with all that ours have: partitions, an identity, a sequence,
//! references, bytes, and texts with every awkward character.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers are no tests to the linter"
)]

mod servers;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use recado::domain::error::Kind;
use recado::infra::store::backup::{Backups, PostgresBackups, Written, restore_postgres};
use servers::keeper::{Kept, User, free_port};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

/// As a migrated, empty store is: some tables of the machinery have rows already.
const TABLES: &str = "
    create table _sqlx_migrations (version bigint primary key, success boolean not null);
    insert into _sqlx_migrations values (1, true);
    create table tenants (id uuid primary key, created_at bigint not null);
    create table api_keys (id uuid primary key, tenant_id uuid not null references tenants (id), hash bytea not null unique);
    create table events (event_id uuid not null, shard integer not null, log integer not null, position bigint not null,
        stored_at bigint not null, data text not null) partition by range (stored_at);
    create table events_default partition of events default;
    create unique index events_default_by_position on events_default (shard, log, position);
    create table events_0 partition of events for values from ('0') to ('1000');
    create unique index on events_0 (shard, log, position);
    create table messages (id uuid primary key, content text) partition by range (id);
    create table messages_default partition of messages default;
    create table partitions (name text primary key, parent text not null, from_at bigint, upto_at bigint);
    insert into partitions values ('events_0', 'events', 0, 1000);
    create table outbox (shard integer not null, id bigint generated always as identity, data text, primary key (shard, id));
    create sequence chat_ids increment by 1000;
    create table relays (shard integer, log integer, epoch bigint not null, head bigint not null);
    create table leases (shard integer primary key, node text, address text not null, epoch bigint not null,
        expires_at bigint not null);
    create table facts (name text primary key, value text not null);
    create table nodes (node text primary key);
    insert into facts values ('shards', '16');
";

const ROWS: &str = r"
    insert into tenants values ('00000000-0000-0000-0000-000000000001', 1);
    insert into api_keys values ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000001', '\x00ff0a5c09');
    create table events_1000 partition of events for values from ('1000') to ('2000');
    create unique index on events_1000 (shard, log, position);
    create table messages_1 partition of messages for values from ('01000000-0000-0000-0000-000000000000')
        to ('02000000-0000-0000-0000-000000000000');
    insert into partitions values ('events_1000', 'events', 1000, 2000);
    insert into events select gen_random_uuid(), 0, 0, n, n, repeat('x', 100) from generate_series(1, 5000) n;
    insert into messages values ('01500000-0000-0000-0000-000000000000', E'tab\there\nline\\N \\. ñ 日本 \u0001'),
        ('11500000-0000-0000-0000-000000000000', null), ('21500000-0000-0000-0000-000000000000', '');
    insert into outbox (shard, data) values (0, 'a'), (0, 'b');
    select nextval('chat_ids'), nextval('chat_ids');
    insert into relays values (0, 0, 7, 5000);
    insert into leases values (0, 'n', 'http://n', 7, 99);
";

/// Everything there is, as text.
const LOOK: &str = "select (select md5(string_agg(e::text, '|' order by position)) from events e) \
    || (select md5(string_agg(m::text, '|' order by id)) from messages m) \
    || (select md5(string_agg(o::text, '|' order by id)) from outbox o) \
    || (select string_agg(k::text, '|' order by id) from api_keys k) \
    || (select string_agg(p::text, '|' order by name) from partitions p) \
    || (select string_agg(f::text, '|' order by name) from facts f)";

struct Server {
    _kept: Kept,
    port: u16,
    _folder: tempfile::TempDir,
}

/// The newest Postgres of Debian's places.
fn binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin")).collect();
    found.retain(|bin| bin.join("postgres").exists());
    found.sort();
    found.pop()
}

impl Server {
    async fn start() -> Option<Self> {
        let Some(bin) = binaries() else {
            assert!(std::env::var_os("CI").is_none(), "there is no Postgres");
            println!("skipped: there is no Postgres under /usr/lib/postgresql");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let (data, port) = (folder.path().join("data"), free_port());
        std::fs::create_dir(&data).unwrap();
        // It refuses to run as root.
        let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let user = root.then(|| User::named(&["postgres", "nobody"]).expect("a user for Postgres"));
        if let Some(user) = user {
            user.own(folder.path());
            user.own(&data);
        }
        let mut initdb = Command::new(bin.join("initdb"));
        initdb.args(["-D", data.to_str().unwrap(), "-U", "recado", "-A", "trust", "-E", "UTF8", "--no-sync"]);
        initdb.current_dir(folder.path());
        if let Some(user) = user {
            user.run(&mut initdb);
        }
        let made = initdb.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let (postgres, data, port_text) =
            (bin.join("postgres"), data.to_str().unwrap().to_owned(), port.to_string());
        let sockets = folder.path().to_str().unwrap().to_owned();
        let command =
            [postgres.to_str().unwrap(), "-D", &data, "-p", &port_text, "-k", &sockets, "-c", "fsync=off"];
        let kept = Kept::start(folder.path(), user, &command);
        let server = Self { _kept: kept, port, _folder: folder };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while PgConnection::connect(&server.url("postgres")).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "Postgres does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(server)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://recado@127.0.0.1:{}/{database}", self.port)
    }

    /// A new database with empty tables.
    async fn database(&self, name: &str) -> PgConnection {
        let mut conn = PgConnection::connect(&self.url("postgres")).await.unwrap();
        run(&mut conn, &format!("create database {name}")).await;
        let mut conn = PgConnection::connect(&self.url(name)).await.unwrap();
        run(&mut conn, TABLES).await;
        conn
    }

    async fn backup(&self, name: &str, folder: &Path) -> Written {
        PostgresBackups::at(&self.url(name)).unwrap().backup(folder).await.unwrap()
    }
}

async fn run(conn: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(conn).await.unwrap();
}

async fn one<T>(conn: &mut PgConnection, statement: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    sqlx::query(AssertSqlSafe(statement)).fetch_one(conn).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_restores_every_row_partition_and_sequence_and_no_owner() {
    let Some(server) = Server::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut source = server.database("source").await;
    run(&mut source, ROWS).await;
    let expected: String = one(&mut source, LOOK).await;
    let written = server.backup("source", folder.path()).await;
    assert_eq!(written.contents.rows["events"], 5_000);
    assert!(written.file.to_str().unwrap().ends_with(".dump"));

    let mut target = server.database("target").await;
    let restored = restore_postgres(&server.url("target"), &written.file).await.unwrap();
    assert_eq!(restored, written.contents);
    assert_eq!(one::<String>(&mut target, LOOK).await, expected);
    assert_eq!(
        one::<i64>(&mut target, "select count(*) from events_1000").await,
        1_000,
        "partitions are as they were"
    );
    assert_eq!(one::<i64>(&mut target, "select count(*) from messages_1").await, 1);
    let indexes =
        "select count(*) from pg_indexes where tablename = 'events_1000' and indexdef like 'CREATE UNIQUE%'";
    assert_eq!(one::<i64>(&mut target, indexes).await, 1, "with their own indexes");
    assert_eq!(one::<i64>(&mut target, "select nextval('chat_ids')").await, 2_001);
    run(&mut target, "insert into outbox (shard, data) values (0, 'c')").await;
    assert_eq!(one::<i64>(&mut target, "select max(id) from outbox").await, 3);
    let free = "select node is null and expires_at = 0 and epoch > 1000000000 from leases";
    assert!(one::<bool>(&mut target, free).await, "no owner of before is trusted");
    assert!(one::<bool>(&mut target, "select epoch > 1000000000 and head = 5000 from relays").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_of_one_moment_while_rows_come_and_a_refused_restore_changes_nothing() {
    let Some(server) = Server::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut source = server.database("source").await;
    run(&mut source, ROWS).await;
    let mut writer = PgConnection::connect(&server.url("source")).await.unwrap();
    let writes = async {
        // Each transaction writes as many events as outbox rows: a dump with another difference is of two moments.
        for n in 10_000.. {
            let both = format!(
                "begin; insert into outbox (shard, data) values (0, 'w'); \
                 insert into events values (gen_random_uuid(), 0, 0, {n}, {n}, 'w'); commit"
            );
            run(&mut writer, &both).await;
        }
    };
    let mut dumps = Vec::new();
    tokio::select! {
        () = writes => unreachable!("it writes for ever"),
        () = async {
            for _ in 0..5 {
                dumps.push(server.backup("source", folder.path()).await);
            }
        } => (),
    }
    let sizes: Vec<u64> = dumps.iter().map(|dump| dump.contents.rows["events"]).collect();
    for dump in &dumps {
        assert_eq!(dump.contents.rows["events"] - 5_000, dump.contents.rows["outbox"] - 2);
    }
    assert!(sizes.is_sorted() && sizes[0] < sizes[4], "rows came meanwhile: {sizes:?}");

    let refused = |file: &Path, name: &str| {
        let (url, file) = (server.url(name), file.to_owned());
        async move { restore_postgres(&url, &file).await.unwrap_err() }
    };
    let last = &dumps[4].file;
    let full = refused(last, "source").await;
    assert_eq!((full.kind, full.code), (Kind::Conflict, "data_exists"));

    let mut target = server.database("target").await;
    run(&mut target, "insert into _sqlx_migrations values (2, true)").await;
    assert_eq!(refused(last, "target").await.code, "backup_other_migration");
    run(&mut target, "delete from _sqlx_migrations where version = 2; create table more (a integer)").await;
    assert_eq!(refused(last, "target").await.code, "backup_other_tables");
    run(&mut target, "drop table more").await;

    let mut bytes = std::fs::read(last).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = folder.path().join("damaged.dump");
    std::fs::write(&damaged, &bytes).unwrap();
    assert_eq!(refused(&damaged, "target").await.code, "backup_damaged");
    bytes.truncate(middle);
    std::fs::write(&damaged, &bytes).unwrap();
    assert_eq!(refused(&damaged, "target").await.code, "backup_damaged");

    // A row that the tables refuse: all of it or nothing.
    run(&mut target, "alter table events add check (position < 10000)").await;
    assert_eq!(refused(last, "target").await.kind, Kind::Unavailable);
    let nothing = "select not exists (select from events) and not exists (select from api_keys) \
        and exists (select from partitions) and to_regclass('events_0') is not null";
    assert!(one::<bool>(&mut target, nothing).await, "as it was");
    run(&mut target, "alter table events drop constraint events_position_check").await;
    restore_postgres(&server.url("target"), last).await.unwrap();
    let same = one::<i64>(&mut target, "select count(*) from events").await;
    assert_eq!(u64::try_from(same).unwrap(), sizes[4]);
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_without_being_shown() {
    let Err(refused) = PostgresBackups::at("mysql://u:s3cret@h/d") else { panic!("it was taken") };
    assert!(!format!("{refused:?} {refused}").contains("s3cret"));
    let folder = tempfile::tempdir().unwrap();
    let url = format!("postgres://u:s3cret@127.0.0.1:{}/d", free_port());
    let away = PostgresBackups::at(&url).unwrap().backup(folder.path()).await.unwrap_err();
    assert_eq!(away.kind, Kind::Unavailable);
    assert!(!format!("{away:?} {away}").contains("s3cret"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
