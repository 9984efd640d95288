//! A throw-away Postgres: in a folder of its own, on a free port, gone with the process that started it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::time::Instant;

use super::keeper::{Kept, User, free_port};

/// How long the server may take to start, recover or stop.
const WITHIN: Duration = Duration::from_secs(60);

/// Use this server instead of one of our own.
pub const OTHER: &str = "RECADO_TEST_POSTGRES_URL";

/// How the server is set up.
#[derive(Clone, Copy)]
pub struct Setup {
    pub max_connections: u32,
    /// Off where a test is about answers and not about power cuts.
    pub fsync: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { max_connections: 100, fsync: true }
    }
}

/// A server, running or not.
pub struct Postgres {
    own: Option<Own>,
    /// Up to the database's name.
    url: String,
    made: AtomicU64,
}

/// What is ours of a server of our own.
struct Own {
    folder: PathBuf,
    binaries: PathBuf,
    user: Option<User>,
    port: u16,
    setup: Setup,
    running: Mutex<Option<Kept>>,
    /// Removes the folder when we have gone.
    reaper: Child,
}

impl Postgres {
    /// A running server: the one that the environment names, or one of our own.
    pub fn any(setup: Setup) -> Self {
        match std::env::var(OTHER) {
            Ok(url) => {
                let (url, _database) = url.rsplit_once('/').expect("a URL with a database");
                Self { own: None, url: url.to_owned(), made: AtomicU64::new(0) }
            }
            Err(_unset) => Self::own(setup),
        }
    }

    /// A running server of our own.
    pub fn own(setup: Setup) -> Self {
        let folder = tempfile::Builder::new().prefix("recado-postgres-").tempdir().expect("a folder").keep();
        let own = Own {
            binaries: binaries()
                .expect("Postgres is not installed: no initdb in PATH or /usr/lib/postgresql"),
            user: user(),
            port: free_port(),
            setup,
            running: Mutex::new(None),
            reaper: reaper(&folder),
            folder,
        };
        own.init();
        own.start();
        let url = format!("postgres://recado:secret@127.0.0.1:{}", own.port);
        Self { own: Some(own), url, made: AtomicU64::new(0) }
    }

    /// The URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("{}/{database}", self.url)
    }

    /// Makes an empty database, or a copy of one that nobody is connected to; returns its URL.
    pub async fn create_database(&self, like: Option<&str>) -> String {
        let name = format!("recado_{}_{}", std::process::id(), self.made.fetch_add(1, Ordering::Relaxed));
        self.create_named(&name, like).await;
        self.url(&name)
    }

    /// Makes a database of this name.
    pub async fn create_named(&self, name: &str, like: Option<&str>) {
        let template = like.unwrap_or("template0");
        let options: PgConnectOptions = self.url("postgres").parse().expect("a URL");
        let mut conn = options.connect().await.expect("the server");
        let sql = format!("create database \"{name}\" template \"{template}\" encoding 'UTF8'");
        sqlx::query(AssertSqlSafe(sql)).execute(&mut conn).await.expect("a database");
        conn.close().await.expect("goodbye");
    }

    fn ours(&self) -> &Own {
        self.own.as_ref().expect("a server of our own")
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.ours().port
    }

    /// Starts it again, on the same folder and port.
    pub fn start(&self) {
        self.ours().start();
    }

    /// Ends it in good order.
    pub fn stop(&self) {
        self.ours().end("INT");
    }

    /// Ends it as a crash would.
    pub fn kill(&self) {
        self.ours().end("QUIT");
    }

    /// Ends it in good order and starts it again.
    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    /// Sends its first process a signal: STOP, CONT.
    pub fn signal(&self, name: &str) {
        self.ours().running.lock().expect("a lock").as_ref().expect("a running server").signal(name);
    }
}

impl Own {
    fn data(&self) -> String {
        self.folder.join("data").to_str().expect("a plain path").to_owned()
    }

    fn init(&self) {
        let password = self.folder.join("password");
        std::fs::File::create(&password).and_then(|mut file| file.write_all(b"secret\n")).expect("a file");
        if let Some(user) = self.user {
            user.own(&self.folder);
            user.own(&password);
        }
        let mut command = Command::new(self.binaries.join("initdb"));
        command.args(["-D", &self.data(), "-U", "recado", "--auth=scram-sha-256", "--encoding=UTF8"]);
        command.args(["--locale=C", "--pwfile"]).arg(&password).current_dir(&self.folder);
        if !self.setup.fsync {
            command.arg("--no-sync");
        }
        if let Some(user) = self.user {
            user.run(&mut command);
        }
        let made = command.stdin(Stdio::null()).output().expect("initdb");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    }

    fn start(&self) {
        let mut running = self.running.lock().expect("a lock");
        assert!(running.is_none(), "it runs already");
        let (port, data, most) = (self.port.to_string(), self.data(), self.setup.max_connections.to_string());
        let set = |name: &str, value: &str| ["-c".to_owned(), format!("{name}={value}")];
        let mut command = vec![self.binaries.join("postgres").to_str().expect("a path").to_owned()];
        command.extend(["-D".to_owned(), data, "-p".to_owned(), port]);
        command.extend(set("listen_addresses", "127.0.0.1"));
        command.extend(set("unix_socket_directories", ""));
        command.extend(set("max_connections", &most));
        command.extend(set("fsync", if self.setup.fsync { "on" } else { "off" }));
        command.extend(set("max_wal_size", "1GB"));
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let kept = Kept::start(&self.folder, self.user, &command);
        let begun = Instant::now();
        while !self.answers() {
            let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(!ended(kept.pid()) && begun.elapsed() < WITHIN, "Postgres does not start:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        *running = Some(kept);
    }

    /// Whether it asks who we are: until then it answers that it is starting or recovering.
    fn answers(&self) -> bool {
        let mut hello = vec![0, 3, 0, 0];
        hello.extend(b"user\0recado\0database\0postgres\0\0");
        let length = u32::try_from(hello.len() + 4).expect("a short greeting");
        let asked = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut socket| {
            socket.set_read_timeout(Some(WITHIN))?;
            socket.write_all(&[&length.to_be_bytes()[..], &hello].concat())?;
            let mut answer = [0];
            socket.read_exact(&mut answer)?;
            Ok(answer)
        });
        asked.is_ok_and(|answer| answer == *b"R")
    }

    fn end(&self, signal: &str) {
        let kept = self.running.lock().expect("a lock").take().expect("a running server");
        kept.signal(signal);
        let begun = Instant::now();
        while !ended(kept.pid()) {
            assert!(begun.elapsed() < WITHIN, "Postgres does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.running.lock().map(|mut running| running.take()));
        drop(self.reaper.stdin.take());
        drop(self.reaper.wait());
    }
}

/// Whether a process has ended, waited for or not.
pub fn ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
}

/// Whom Postgres runs as: it refuses to be root.
pub fn user() -> Option<User> {
    root().then(|| User::named(&["postgres", "nobody"]).expect("a user to run Postgres as"))
}

fn root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id");
    id.stdout.starts_with(b"0")
}

/// Waits for our end, and then removes the folder.
fn reaper(folder: &Path) -> Child {
    let mut reaper = Command::new("sh");
    reaper.args([
        "-c",
        "cat >/dev/null; for n in 1 2 3 4 5; do rm -rf \"$1\" && exit; sleep 1; done",
        "reaper",
    ]);
    reaper.arg(folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    reaper.process_group(0).spawn().expect("sh")
}

/// The folder of `initdb`: in PATH, or the newest of Debian's.
pub fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).find(|folder| folder.join("initdb").is_file());
    // A link in PATH may stand alone; the server looks for its parts beside itself.
    let in_path = in_path.map(|folder| folder.join("initdb").canonicalize().unwrap_or(folder));
    let in_path = in_path.map(|path| if path.is_dir() { path } else { path.with_file_name("") });
    in_path.or_else(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
        let mut versions: Vec<(u32, PathBuf)> = versions
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
            .filter(|(_, folder)| folder.join("initdb").is_file())
            .collect();
        versions.sort();
        versions.pop().map(|(_, folder)| folder)
    })
}
