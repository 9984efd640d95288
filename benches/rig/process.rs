//! Processes of the program under test.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use super::leaks;
use super::wire::Wire;

/// How long a process may take until it answers.
const READY: Duration = Duration::from_secs(120);

/// Runs `"$@"` under this shell's process id, with more files than a shell's default: a thousand sockets need them. Beside it
/// something waits for the end of our side of a pipe, which comes even when we are killed, and then kills it, as long as
/// it is still its child.
const RUN: &str = r#"
exec 3<&0
(
    cat <&3 >/dev/null
    read -r _ _ _ parent _ </proc/self/stat
    [ "$parent" != "$$" ] || kill -KILL "$$"
) &
exec 3<&-
ulimit -n "$(ulimit -Hn)" 2>/dev/null
exec "$@" </dev/null
"#;

/// A process that ends with its owner.
pub(crate) struct Process {
    child: Child,
    /// Where it answers.
    pub(crate) addr: SocketAddr,
    log: PathBuf,
    ended: bool,
    /// Whether its log is the service's.
    searched: bool,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if self.searched && !std::thread::panicking() {
            let log = self.log();
            let leaks = leaks::of(&log);
            assert!(leaks.as_ref().is_ok_and(Vec::is_empty), "the log holds what it must not: {leaks:#?}");
        }
    }
}

impl Process {
    /// Starts `recado` (or the binary that `RECADO_RIG_BINARY` names) with these words and variables; its output goes to a file of this name in the folder.
    pub(crate) fn start(
        folder: &Path,
        name: &str,
        addr: SocketAddr,
        words: &[String],
        variables: &[(String, String)],
    ) -> Result<Self> {
        let binary =
            std::env::var_os("RECADO_RIG_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_recado").into());
        Self::start_program(folder, (name, Path::new(&binary)), addr, words, variables)
    }

    /// The same with any program.
    pub(crate) fn start_program(
        folder: &Path,
        (name, program): (&str, &Path),
        addr: SocketAddr,
        words: &[String],
        variables: &[(String, String)],
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = OpenOptions::new().create(true).append(true).open(&log)?;
        let child = Command::new("sh")
            .args(["-c", RUN, "sh"])
            .arg(program)
            .args(words)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("starting recado")?;
        let searched = words.first().is_some_and(|word| word == "serve");
        Ok(Self { child, addr, log, ended: false, searched })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and the wait for its end.
    pub(crate) fn kill(&mut self) {
        if !self.ended {
            self.ended = true;
            let _already_dead = self.child.kill();
            let _its_status = self.child.wait();
        }
    }

    /// Sends it a signal by name: STOP, CONT, TERM…
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        anyhow::ensure!(!self.ended, "a process that has ended gets no signal");
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status()?;
        anyhow::ensure!(sent.success(), "kill -{name}");
        Ok(())
    }

    /// Asks it to stop and waits for its end.
    pub(crate) async fn stop(&mut self, within: Duration) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.end(within).await
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        self.ended = self.ended || self.child.try_wait()?.is_some();
        Ok(self.ended)
    }

    /// Waits for its end.
    pub(crate) async fn end(&mut self, within: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.ended = true;
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("it did not stop within {within:?}{}", self.last_words());
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until it answers `path` with success.
    pub(crate) async fn ready(&mut self, path: &str) -> Result<Duration> {
        let started = Instant::now();
        while started.elapsed() < READY {
            if let Some(status) = self.child.try_wait()? {
                self.ended = true;
                bail!("it ended at once: {status}{}", self.last_words());
            }
            if self.answers(path).await {
                return Ok(started.elapsed());
            }
            sleep(Duration::from_millis(10)).await;
        }
        bail!("not ready within {READY:?}{}", self.last_words())
    }

    async fn answers(&self, path: &str) -> bool {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.addr);
        let Ok(mut wire) = Wire::connect(self.addr).await else { return false };
        matches!(wire.ask(request.as_bytes()).await, Ok((200, _)))
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of what it printed, for an error.
    pub(crate) fn last_words(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n  ");
        format!("\nits last words:\n  {tail}")
    }
}

/// A free port that the kernel gives to no outgoing connection, so that a restarted process finds it free again.
pub(crate) fn free_addr() -> Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 9_000)?;
    for _try in 0..500 {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(addr).is_ok() {
            return Ok(addr);
        }
    }
    bail!("no free port")
}
