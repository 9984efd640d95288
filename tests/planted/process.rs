//! `recado serve` in a process of its own, with what it says.

use std::path::{Path, PathBuf};

use crate::servers::keeper::{Kept, free_port};
use crate::servers::postgres::ended;
use crate::until;

/// The binary under test.
pub const RECADO: &str = env!("CARGO_BIN_EXE_recado");

pub struct Service {
    kept: Kept,
    log: PathBuf,
    pub base: String,
}

impl Service {
    /// Starts it with these variables and no others.
    pub fn start(folder: &Path, variables: Vec<(&'static str, String)>) -> Self {
        let port = free_port();
        let data = folder.join("data");
        let mut command = vec!["env".to_owned(), "-i".to_owned()];
        command.push(format!("RECADO_LISTEN=127.0.0.1:{port}"));
        command.push(format!("RECADO_DATA_DIR={}", data.display()));
        command.extend(variables.into_iter().map(|(name, value)| format!("{name}={value}")));
        command.extend([RECADO.to_owned(), "serve".to_owned()]);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let kept = Kept::start(folder, None, &command);
        Self { kept, log: folder.join("log"), base: format!("http://127.0.0.1:{port}") }
    }

    /// What it said: the lines that tell the first key, which is their purpose, and all others.
    pub fn output(&self) -> (Vec<String>, String) {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let (told, log): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("API key: "));
        let log: Vec<_> = log.into_iter().filter(|line| !line.starts_with("It is shown this once")).collect();
        (told.into_iter().map(str::to_owned).collect(), log.join("\n"))
    }

    pub fn has_ended(&self) -> bool {
        ended(self.kept.pid())
    }

    /// Stops it in good order.
    pub async fn stop(&self) {
        self.kept.signal("TERM");
        until("its end", async || self.has_ended().then_some(())).await;
    }
}
