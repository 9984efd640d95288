//! Postgres and Redis for a bench: of its own, on free ports, with fsync; and pgbench, the yardstick beside ours.
//!
//! Promises: both end with the bench; the yardstick runs on the server that is measured, in the same run.

#![allow(dead_code, reason = "each bench uses its part")]

#[path = "../../tests/servers/mod.rs"]
#[allow(
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "written for tests, which fail by panicking"
)]
mod servers;

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use servers::postgres::{Postgres, Setup};
use servers::redis::{Keeps, Redis};

/// The database of the yardstick.
const PLAIN: &str = "plain";

/// The two servers.
pub(crate) struct Engines {
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    /// The service's database.
    pub(crate) url: String,
}

impl Engines {
    /// Starts both and makes two databases, one for the service and one for the yardstick.
    pub(crate) async fn start() -> Result<Self> {
        let postgres = Postgres::own(Setup { max_connections: 200, fsync: true });
        let url = postgres.create_database(None).await;
        postgres.create_named(PLAIN, None).await;
        let engines = Self { postgres, redis: Redis::start(Keeps::Log), url };
        let mut conn = connect(&engines.postgres.url(PLAIN)).await?;
        run(&mut conn, "create table plain (id bigserial primary key, body text not null)").await?;
        conn.close().await?;
        Ok(engines)
    }

    /// What the service is told.
    pub(crate) fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("DATABASE_URL", self.url.clone()),
            ("REDIS_URL", self.redis.url()),
            ("RECADO_ENCRYPTION_KEY", "07".repeat(32)),
        ]
    }

    /// Cuts the tables' server off as a crash would, and starts it again on what its disk has.
    pub(crate) fn crash(&self) {
        self.postgres.kill();
        self.postgres.start();
    }

    /// Inserts of one row of this size per transaction, per second, by so many clients of pgbench.
    pub(crate) fn inserts(&self, clients: usize, row: usize, time: Duration) -> Result<f64> {
        let script = tempfile::NamedTempFile::new()?;
        std::fs::write(script.path(), format!("insert into plain (body) values ('{}');\n", "x".repeat(row)))?;
        let mut bench = Command::new("pgbench");
        bench.args(["-n", "-M", "prepared", "-h", "127.0.0.1", "-U", "recado"]);
        bench.args(["-p", &self.postgres.port().to_string(), "-c", &clients.to_string()]);
        bench.args(["-j", &clients.min(2).to_string(), "-T", &time.as_secs().to_string(), "-f"]);
        bench.arg(script.path()).arg(PLAIN).env("PGPASSWORD", "secret").stdin(Stdio::null());
        let told = bench.output().context("pgbench is not installed")?;
        ensure!(told.status.success(), "pgbench: {}", String::from_utf8_lossy(&told.stderr));
        let told = String::from_utf8(told.stdout)?;
        let figure = told.split("tps = ").nth(1).and_then(|rest| rest.split(' ').next());
        figure.context("pgbench told no figure")?.parse().context("pgbench's figure")
    }

    /// The answer of a question for one number, in the service's database.
    pub(crate) async fn number(&self, sql: &'static str) -> Result<i64> {
        let mut conn = connect(&self.url).await?;
        let number = sqlx::query_scalar(sql).fetch_one(&mut conn).await?;
        conn.close().await?;
        Ok(number)
    }
}

async fn connect(url: &str) -> Result<PgConnection> {
    let options: PgConnectOptions = url.parse()?;
    options.connect().await.context("the bench's Postgres does not answer")
}

async fn run(conn: &mut PgConnection, sql: &'static str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await?;
    Ok(())
}
