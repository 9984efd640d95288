//! A second server that follows the first through a proxy, so that it can be left behind and then take its place.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sqlx::{Connection, Row};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::audit::connect;
use super::{Cluster, apart};
use crate::net::proxy::Proxy;
use crate::servers::keeper::{Kept, free_port};
use crate::servers::postgres::{binaries, user};
use crate::servers::redis::{Keeps, Redis};

/// How long a follower may take to be where the first is.
const FOLLOWS: Duration = Duration::from_secs(60);

/// A Postgres that follows.
pub(crate) struct Standby {
    _server: Kept,
    _folder: TempDir,
    port: u16,
    /// Its way to the first.
    pub(crate) link: Proxy,
}

impl Standby {
    pub(crate) async fn of(cluster: &Cluster) -> Result<Self> {
        let link = Proxy::start(SocketAddr::from(([127, 0, 0, 1], cluster.postgres.port())))?;
        let (from, port) = (link.addr().port(), free_port());
        let (server, folder) = apart(move || start(from, port)).await??;
        let standby = Self { _server: server, _folder: folder, port, link };
        let until = Instant::now() + FOLLOWS;
        while !standby.answers(cluster).await {
            ensure!(Instant::now() < until, "the standby does not follow");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(standby)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The tables here.
    pub(crate) fn tables(&self, cluster: &Cluster) -> String {
        let (_, database) = cluster.tables.rsplit_once('/').unwrap_or_default();
        format!("postgres://recado:secret@{}/{database}", self.addr())
    }

    async fn answers(&self, cluster: &Cluster) -> bool {
        match connect(&self.tables(cluster)).await {
            Ok(mut conn) => sqlx::query("select count(*) from events").fetch_one(&mut conn).await.is_ok(),
            Err(_not_yet) => false,
        }
    }

    /// Makes it the first.
    pub(crate) async fn promote(&self, cluster: &Cluster) -> Result<()> {
        let mut conn = connect(&self.tables(cluster)).await?;
        let done: bool = sqlx::query("select pg_promote()").fetch_one(&mut conn).await?.get(0);
        ensure!(done, "the standby was not promoted");
        Ok(conn.close().await?)
    }
}

/// Copies the first and starts the copy.
fn start(from: u16, port: u16) -> Result<(Kept, TempDir)> {
    let binaries = binaries().context("Postgres is not installed")?;
    let folder = tempfile::Builder::new().prefix("recado-standby-").tempdir()?;
    let data = folder.path().join("data");
    let user = user();
    if let Some(user) = user {
        user.own(folder.path());
    }
    let from = format!("host=127.0.0.1 port={from} user=recado password=secret");
    let mut copy = Command::new(binaries.join("pg_basebackup"));
    copy.args(["-R", "-X", "stream", "-c", "fast", "-d", &from, "-D"]).arg(&data).current_dir(folder.path());
    if let Some(user) = user {
        user.run(&mut copy);
    }
    let copied = copy.stdin(Stdio::null()).output()?;
    ensure!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
    let text = |path: &Path| path.display().to_string();
    let (binary, data, port) = (text(&binaries.join("postgres")), text(&data), port.to_string());
    let mut command = vec![binary.as_str(), "-D", &data, "-p", &port];
    for set in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200", "fsync=off"]
    {
        command.extend(["-c", set]);
    }
    let server = Kept::start(folder.path(), user, &command);
    Ok((server, folder))
}

/// A Redis that follows.
pub(crate) struct Replica {
    pub(crate) redis: Redis,
    pub(crate) link: Proxy,
}

impl Replica {
    pub(crate) async fn of(first: SocketAddr) -> Result<Self> {
        let link = Proxy::start(first)?;
        let redis = apart(|| Redis::start(Keeps::Nothing)).await?;
        let replica = Self { redis, link };
        let port = replica.link.addr().port();
        replica.follow("127.0.0.1", &port.to_string()).await?;
        let until = Instant::now() + FOLLOWS;
        let mut conn = super::streams::connect(replica.addr()?).await?;
        loop {
            let told: String = redis::cmd("INFO").arg("replication").query_async(&mut conn).await?;
            if told.contains("master_link_status:up") {
                return Ok(replica);
            }
            ensure!(Instant::now() < until, "the replica does not follow: {told}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn addr(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], super::port_of(&self.redis.url())?)))
    }

    /// Makes it the first.
    pub(crate) async fn promote(&self) -> Result<()> {
        self.follow("NO", "ONE").await
    }

    async fn follow(&self, host: &str, port: &str) -> Result<()> {
        let mut conn = super::streams::connect(self.addr()?).await?;
        Ok(redis::cmd("REPLICAOF").arg(host).arg(port).query_async(&mut conn).await?)
    }
}
