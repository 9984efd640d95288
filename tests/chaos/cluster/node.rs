//! One node: a real process, with a proxy of its own to Postgres and one to Redis.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::net::proxy::Proxy;
use crate::rig::process::{Process, free_addr};

/// What runs as a node.
#[derive(Clone)]
pub(crate) enum Program {
    /// `recado serve`.
    Recado,
    /// Another binary's `serve`.
    Other(PathBuf),
    /// This test binary, told to be a node with a group of its own (see [`crate::worker`]).
    Worker,
}

/// A node that can be killed, paused, stopped, cut off, and started again where it was.
pub(crate) struct Node {
    folder: PathBuf,
    name: String,
    pub(crate) program: Program,
    addr: SocketAddr,
    pub(crate) variables: Vec<(String, String)>,
    process: Option<Process>,
    /// Its way to Postgres.
    pub(crate) tables: Proxy,
    /// Its way to Redis.
    pub(crate) streams: Proxy,
}

impl Node {
    pub(super) fn new(
        folder: &Path,
        place: usize,
        program: Program,
        servers: (SocketAddr, SocketAddr),
    ) -> Result<Self> {
        let (tables, streams) = (Proxy::start(servers.0)?, Proxy::start(servers.1)?);
        let name = format!("node-{place}");
        let folder = folder.to_owned();
        Ok(Self {
            folder,
            name,
            program,
            addr: free_addr()?,
            variables: Vec::new(),
            process: None,
            tables,
            streams,
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    pub(super) fn key_file(&self) -> PathBuf {
        self.folder.join(format!("{}.key", self.name))
    }

    /// Starts the process, without waiting.
    pub(crate) fn launch(&mut self) -> Result<()> {
        let serve = vec!["serve".to_owned()];
        let (folder, name, addr, variables) = (&self.folder, &self.name, self.addr, &self.variables);
        let process = match &self.program {
            Program::Recado => Process::start(folder, name, addr, &serve, variables)?,
            Program::Other(path) => Process::start_program(folder, (name, path), addr, &serve, variables)?,
            Program::Worker => {
                let words = crate::worker::words();
                let binary = std::env::current_exe()?;
                Process::start_program(folder, (name, &binary), addr, &words, variables)?
            }
        };
        self.process = Some(process);
        Ok(())
    }

    fn running(&mut self) -> Result<&mut Process> {
        self.process.as_mut().with_context(|| format!("{} is not running", self.name))
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&mut self) -> Result<Duration> {
        self.running()?.ready("/readyz").await
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// It hangs from now on, and does not know it.
    pub(crate) fn pause(&mut self) -> Result<()> {
        self.running()?.signal("STOP")
    }

    /// It goes on as if nothing had been.
    pub(crate) fn go_on(&mut self) -> Result<()> {
        self.running()?.signal("CONT")
    }

    /// Asks it to stop.
    pub(crate) fn ask_to_stop(&mut self) -> Result<()> {
        self.running()?.signal("TERM")
    }

    /// Waits for the end it was asked for.
    pub(crate) async fn end(&mut self, within: Duration) -> Result<ExitStatus> {
        let status = self.running()?.end(within).await?;
        self.process = None;
        Ok(status)
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        self.running()?.has_ended()
    }

    /// The end of its log, for an error.
    pub(crate) fn last_words(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::last_words)
    }

    /// All it ever logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join(format!("{}.log", self.name))).unwrap_or_default()
    }
}
