//! A Redis of one's own, or the one that `RECADO_TEST_REDIS_URL` names: there each test keeps to its own prefix, and the
//! tests that kill or empty their server are not for it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use recado::infra::stream::redis::{RedisStream, Settings};
use tempfile::TempDir;
use tokio::time::Instant;
use uuid::Uuid;

use super::keeper::{Kept, free_port};

/// Another program than Debian's Redis, that takes the same words: a newer one, or Valkey.
pub const PROGRAM: &str = "RECADO_TEST_REDIS_SERVER";

/// How long a server may take to start or stop.
const WITHIN: Duration = Duration::from_secs(20);

/// What a server keeps when it is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Nothing.
    Nothing,
    /// All but the last second, as an operator would have it.
    Log,
}

/// A server on a port and in a folder that stay the same when it is killed and started again.
pub struct Redis {
    folder: TempDir,
    port: u16,
    keeps: Keeps,
    kept: Mutex<Option<Kept>>,
    password: Option<&'static str>,
}

impl Redis {
    /// Starts one.
    pub fn start(keeps: Keeps) -> Self {
        Self::with(keeps, None)
    }

    /// Starts one that asks for a password.
    pub fn guarded(password: &'static str) -> Self {
        Self::with(Keeps::Nothing, Some(password))
    }

    fn with(keeps: Keeps, password: Option<&'static str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let redis = Self { folder, port: free_port(), keeps, kept: Mutex::default(), password };
        redis.again();
        redis
    }

    /// A port where nothing listens until [`Self::again`].
    pub fn absent() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder, port: free_port(), keeps: Keeps::Nothing, kept: Mutex::default(), password: None }
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub fn url(&self) -> String {
        match self.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}/0", self.port),
            None => format!("redis://127.0.0.1:{}/0", self.port),
        }
    }

    /// Starts it where it was, and waits until it answers.
    pub fn again(&self) {
        let (port, folder) = (self.port.to_string(), self.folder.path().display().to_string());
        let append = if self.keeps == Keeps::Log { "yes" } else { "no" };
        let program = std::env::var(PROGRAM).unwrap_or_else(|_unset| "redis-server".to_owned());
        let mut command = vec![program.as_str(), "--port", &port, "--bind", "127.0.0.1", "--dir", &folder];
        command.extend(["--save", "", "--appendonly", append, "--appendfsync", "everysec"]);
        // Both parts of the log would do, but one file is easier to cut.
        command.extend(["--aof-use-rdb-preamble", "no", "--aof-load-truncated", "yes"]);
        if let Some(password) = self.password {
            command.extend(["--requirepass", password]);
        }
        let kept = Kept::start(self.folder.path(), None, &command);
        *self.kept() = Some(kept);
        let deadline = Instant::now() + WITHIN;
        while !self.answers() {
            assert!(Instant::now() < deadline, "redis does not answer; see {folder}/log");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL.
    pub fn kill(&self) {
        self.signal("KILL");
        *self.kept() = None;
    }

    /// An orderly end.
    pub fn stop(&self) {
        self.signal("TERM");
        let deadline = Instant::now() + WITHIN;
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            assert!(Instant::now() < deadline, "redis does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
        *self.kept() = None;
    }

    /// Kills it and starts it again.
    pub fn restart(&self) {
        self.kill();
        self.again();
    }

    /// Lets it hang: connections stay, answers do not come.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Forgets everything at once.
    pub fn flush(&self) {
        let answer = self.ask("FLUSHALL\r\n");
        assert_eq!(answer.as_deref(), Some("+OK\r\n"));
    }

    /// The file that a killed server is restored from.
    pub fn log(&self) -> PathBuf {
        let folder: &Path = self.folder.path();
        let files = std::fs::read_dir(folder.join("appendonlydir")).expect("a log");
        let mut files = files.map(|file| file.expect("a file").path());
        files.find(|path| path.to_string_lossy().ends_with(".incr.aof")).expect("the growing part of the log")
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Kept>> {
        self.kept.lock().expect("no test failed while it held this")
    }

    fn signal(&self, name: &str) {
        self.kept().as_ref().expect("a running redis").signal(name);
    }

    fn answers(&self) -> bool {
        self.ask("PING\r\n").is_some_and(|answer| !answer.starts_with("-LOADING"))
    }

    fn ask(&self, command: &str) -> Option<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        socket.set_read_timeout(Some(WITHIN)).ok()?;
        socket.write_all(command.as_bytes()).ok()?;
        let mut answer = [0; 256];
        let length = socket.read(&mut answer).ok().filter(|length| *length > 0)?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

/// The address that all tests of a process share.
pub fn shared() -> String {
    static SHARED: OnceLock<Redis> = OnceLock::new();
    let named = std::env::var("RECADO_TEST_REDIS_URL").ok();
    named.unwrap_or_else(|| SHARED.get_or_init(|| Redis::start(Keeps::Nothing)).url())
}

/// Settings that share no key with any other test.
pub fn apart() -> Settings {
    Settings { prefix: format!("t{}:", Uuid::new_v4().simple()), ..Settings::default() }
}

/// Opens the streams of a server.
pub fn open(url: &str, settings: Settings) -> RedisStream {
    RedisStream::open(url, settings).expect("settings that work")
}
