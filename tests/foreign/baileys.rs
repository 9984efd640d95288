//! The driver of Baileys, as a child process that speaks lines of JSON. Ends with its handle.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long anything may take before the test fails.
const SOON: Duration = Duration::from_secs(60);

pub struct Baileys {
    /// Everything it said, in order.
    pub said: Vec<Value>,
    child: Child,
    orders: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Baileys {
    pub async fn start() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/baileys");
        assert!(
            folder.join("node_modules/baileys").is_dir(),
            "run: npm ci --prefix tests/foreign/baileys --ignore-scripts"
        );
        let mut child = Command::new("node")
            .arg("driver.mjs")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts");
        let (orders, lines) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { said: Vec::new(), child, orders, lines: BufReader::new(lines).lines() }
    }

    pub async fn connect(&mut self, url: &str, root_key: &[u8; 32], name: &str) {
        let key: String = root_key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.order(&json!({"do": "connect", "url": url, "rootKey": key, "name": name})).await;
    }

    pub async fn order(&mut self, order: &Value) {
        self.orders.write_all(format!("{order}\n").as_bytes()).await.unwrap();
    }

    /// Sends a text; its id.
    pub async fn send(&mut self, to: &str, text: &str) -> Value {
        let already = self.said.iter().filter(|said| said["event"] == "sent").count();
        self.order(&json!({"do": "send", "to": to, "text": text})).await;
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(sent) = self.said.iter().filter(|said| said["event"] == "sent").nth(already) {
                return sent["id"].clone();
            }
            self.listen("a send", deadline).await;
        }
    }

    /// Waits until it said something, now or before.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(said) = self.said.iter().find(|said| wanted(said)) {
                return said.clone();
            }
            self.listen(what, deadline).await;
        }
    }

    /// Waits until something is so elsewhere.
    pub async fn poll<T>(&self, what: &str, ask: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(Instant::now() < deadline, "not seen in time: {what}; Baileys said {:#?}", self.said);
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn quit(&mut self) {
        self.order(&json!({"do": "quit"})).await;
        let status = timeout(SOON, self.child.wait()).await.expect("it ends").unwrap();
        assert!(status.success(), "{status}");
    }

    async fn listen(&mut self, what: &str, deadline: Instant) {
        let line = timeout_at(deadline, self.lines.next_line()).await;
        let line =
            line.unwrap_or_else(|_late| panic!("not seen in time: {what}; Baileys said {:#?}", self.said));
        let line =
            line.unwrap().unwrap_or_else(|| panic!("it ended before: {what}; it said {:#?}", self.said));
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        assert!(said["event"] != "failed", "while waiting for {what}: {said}");
        self.said.push(said);
    }
}
