//! A `recado serve` in a process and a folder of its own. What it has written to its log is searched at its end.

use tempfile::TempDir;

use crate::servers::keeper::{Kept, free_port};

#[path = "../../benches/rig/leaks.rs"]
mod leaks;

/// A process of its own.
pub struct Node {
    pub url: String,
    folder: TempDir,
    _process: Kept,
}

impl Node {
    /// Starts one on these two addresses, with these variables and no others.
    pub fn start(database: &str, redis: &str, settings: &[(&str, &str)]) -> Self {
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let mut words = vec![
            "env".to_owned(),
            "-i".to_owned(),
            format!("DATABASE_URL={database}"),
            format!("REDIS_URL={redis}"),
            format!("RECADO_LISTEN=127.0.0.1:{port}"),
            format!("RECADO_ENCRYPTION_KEY={}", "07".repeat(32)),
            "RECADO_SHARDS=2".to_owned(),
            "RECADO_DB_POOL=8".to_owned(),
            "RECADO_LEASE_SECS=3".to_owned(),
            "RECADO_BACKUP_CRON=off".to_owned(),
            "RECADO_API_KEY_FILE=key".to_owned(),
        ];
        words.extend(settings.iter().map(|(name, value)| format!("{name}={value}")));
        words.extend([env!("CARGO_BIN_EXE_recado").to_owned(), "serve".to_owned()]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let process = Kept::start(folder.path(), None, &words);
        Self { url: format!("http://127.0.0.1:{port}"), folder, _process: process }
    }

    /// What it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The key that it wrote at its first start.
    pub fn key(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.folder.path().join("key")).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let log = self.log();
            let leaks = leaks::of(&log).expect("patterns that work");
            assert!(leaks.is_empty(), "the log holds what it must not: {leaks:#?}");
        }
    }
}
