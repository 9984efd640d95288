//! One service and one sandbox per test, in this process, spoken to through HTTP only. When it is dropped, the
//! service is stopped and its own store must hold every promise.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use recado::actors::tree::Group;
use recado::commands::service::Service;
use recado::config::Config;
use recado::domain::pacing::Rules;
use recado::infra::store::Store;
use recado::infra::store::sqlite::SqliteStore;
use recado_sandbox::{Sandbox, SandboxConfig, ScanQr, SendText};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::invariants::{self, Open};

/// How long anything may take before a test fails. Generous: the machine of a CI is slow and shared.
pub const SOON: Duration = Duration::from_secs(60);

/// A linked session.
#[derive(Clone, Debug)]
pub struct Account {
    pub session: String,
    pub phone: String,
    pub device: u16,
}

pub struct TestApp {
    pub sandbox: Option<Sandbox>,
    pub http: reqwest::Client,
    pub base: String,
    pub key: String,
    service: Option<Service>,
    groups: Vec<Group>,
    pacing: Option<Rules>,
    folder: TempDir,
    /// Whether messages may still be under way at the end.
    pub unfinished: bool,
}

/// An answer with its status.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl TestApp {
    pub async fn start() -> Self {
        Self::with(Vec::new()).await
    }

    /// With consumer groups beside the built-in ones.
    pub async fn with(groups: Vec<Group>) -> Self {
        Self::made(groups, None).await
    }

    /// With sessions that send no more than they may.
    pub async fn paced(rules: Rules) -> Self {
        Self::made(Vec::new(), Some(rules)).await
    }

    async fn made(groups: Vec<Group>, pacing: Option<Rules>) -> Self {
        if let Ok(level) = std::env::var("LOG_LEVEL") {
            recado::telemetry::start_logs(&level, recado::telemetry::LogFormat::Text).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
        let service = Service::start(config(&folder, pacing), groups.clone()).await.unwrap();
        let key = service.new_key().await.unwrap();
        let base = service.url().to_owned();
        let http = reqwest::Client::builder().timeout(SOON).build().unwrap();
        Self {
            sandbox: Some(sandbox),
            http,
            base,
            key,
            service: Some(service),
            groups,
            pacing,
            folder,
            unfinished: false,
        }
    }

    /// Stops the service in good order and starts it again on the same data.
    pub async fn restart(&mut self) {
        assert!(self.service.take().unwrap().stop().await, "the stop was late");
        let service = Service::start(config(&self.folder, self.pacing), self.groups.clone()).await.unwrap();
        self.base = service.url().to_owned();
        self.service = Some(service);
    }

    /// The file of its tables.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("recado.db")
    }

    /// Stops the service in good order; the test goes on without it.
    pub async fn stop(&mut self) {
        assert!(self.service.take().unwrap().stop().await, "the stop was late");
    }

    pub fn sandbox(&self) -> &Sandbox {
        self.sandbox.as_ref().unwrap()
    }

    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.call_with(method, path, body, &[]).await
    }

    pub async fn call_with(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.json().await.unwrap_or_default();
        Answer { status, headers, body }
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.call("GET", path, None).await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.body);
        answer.body
    }

    pub fn endpoint(&self) -> Value {
        let key: String = self.sandbox().static_key().iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"kind": "sandbox", "url": self.sandbox().ws_url(), "staticKey": key})
    }

    /// A session, not yet linked.
    pub async fn create(&self, start: bool) -> String {
        let body = json!({"endpoint": self.endpoint(), "start": start});
        let answer = self.call("POST", "/sessions", Some(body)).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body["sessionId"].as_str().unwrap().to_owned()
    }

    /// A session linked by QR code to the account with this name.
    pub async fn link(&self, name: &str) -> Account {
        let session = self.create(true).await;
        let path = format!("/sessions/{session}/qr");
        let code = self
            .until("a QR code", async || {
                let answer = self.call("GET", &path, None).await;
                (answer.status == 200).then(|| answer.body["qr"].as_str().unwrap_or_default().to_owned())
            })
            .await;
        let by = ScanQr { phone: None, name: Some(name.to_owned()) };
        let linked = self.sandbox().scan_qr(&code, by).await.unwrap();
        self.state(&session, "connected").await;
        Account { session, phone: linked.phone, device: linked.device_id }
    }

    /// Waits for a session's state.
    pub async fn state(&self, session: &str, state: &str) -> Value {
        let path = format!("/sessions/{session}");
        self.until(&format!("state {state}"), async || {
            let body = self.get(&path).await;
            (body["state"] == state).then_some(body)
        })
        .await
    }

    /// Accepts a text; its id.
    pub async fn send(&self, from: &Account, to: &str, text: &str) -> String {
        let body = json!({"to": to, "content": {"type": "text", "text": text}});
        let answer = self.call("POST", &format!("/sessions/{}/messages", from.session), Some(body)).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.body["messageId"].as_str().unwrap().to_owned()
    }

    /// Waits until a message is in one of these states.
    pub async fn message(&self, id: &str, states: &[&str]) -> Value {
        let path = format!("/messages/{id}");
        self.until(&format!("message in {states:?}"), async || {
            let body = self.get(&path).await;
            states.contains(&body["state"].as_str().unwrap_or_default()).then_some(body)
        })
        .await
    }

    /// A phone sends a text.
    pub async fn phone_sends(&self, phone: &str, to: &str, text: &str) {
        let order = SendText {
            to: to.to_owned(),
            text: text.to_owned(),
            id: None,
            reply_to: None,
            count: None,
            per_second: None,
        };
        self.sandbox().send(phone, order).await.unwrap();
    }

    /// All events above `after` that pass the query, in pages.
    pub async fn events(&self, query: &str) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), "0".to_owned());
        loop {
            let page = self.get(&format!("/events?after={after}&limit=200{query}")).await;
            let items = page["items"].as_array().unwrap().clone();
            let next = page["nextAfter"].as_str().unwrap().to_owned();
            all.extend(items);
            if next == after {
                return all;
            }
            after = next;
        }
    }

    /// Asks until the answer is `Some`.
    pub async fn until<T>(&self, what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(Instant::now() < deadline, "not seen in time: {what}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn check(
        service: Service,
        sandbox: Option<Sandbox>,
        folder: &TempDir,
        unfinished: bool,
    ) -> Result<()> {
        anyhow::ensure!(service.stop().await, "the stop was late");
        if let Some(sandbox) = sandbox {
            let _accounts = sandbox.stop().await.context("the sandbox")?;
        }
        let store = SqliteStore::open(&folder.path().join("recado.db")).await?;
        let open = if unfinished { Open::Allowed } else { Open::Refused };
        invariants::figures(&store, 1).await.assert(open);
        store.close().await;
        Ok(())
    }
}

fn config(folder: &TempDir, pacing: Option<Rules>) -> Config {
    let config = Config::embedded(folder.path()).unwrap();
    Config { pacing: pacing.unwrap_or(config.pacing), ..config }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        let Some(service) = self.service.take() else { return };
        if std::thread::panicking() {
            return;
        }
        let (sandbox, unfinished) = (self.sandbox.take(), self.unfinished);
        let checked = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(Self::check(
                service,
                sandbox,
                &self.folder,
                unfinished,
            ))
        });
        checked.unwrap();
    }
}
