//! People, tokens and keys, through HTTP: who gets in, who is kept out, and that nobody sees another's.

mod account;
mod cookies;
mod isolation;
mod keys;
mod table;
mod tokens;
mod users;

use std::time::Duration;

use recado::commands::service::Service;
use recado::config::Config;
use recado::infra::one_time::OneTimeTokens;
use recado::infra::passwords::Cost;
use recado::infra::vault::Vault;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// How long anything may take before a test fails.
const SOON: Duration = Duration::from_secs(60);

/// A password that nobody tries first.
pub const PASSWORD: &str = "una-frase-larga-7";

pub struct Rig {
    pub service: Service,
    pub folder: tempfile::TempDir,
    pub http: reqwest::Client,
    pub base: String,
    /// A key of the first tenant with all that there is.
    pub key: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn code(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }

    pub fn text(&self, member: &str) -> String {
        self.body[member].as_str().unwrap_or_else(|| panic!("no {member} in {self:?}")).to_owned()
    }
}

/// Somebody who is logged in.
#[derive(Clone, Debug)]
pub struct Person {
    pub access: String,
    pub refresh: String,
    pub login: String,
    pub user: String,
    pub tenant: String,
}

impl Rig {
    pub async fn start() -> Self {
        Self::with(|config| config).await
    }

    pub async fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::embedded(folder.path()).unwrap();
        config.identity.cost = Cost::LEAST;
        // These tests fail to get in more often than anybody should; what then happens has its own.
        config.limits.auth_failures = None;
        let service = Service::start(change(config), Vec::new()).await.unwrap();
        let http = reqwest::Client::builder().timeout(SOON).build().unwrap();
        let (base, key) = (service.url().to_owned(), service.new_key().await.unwrap());
        Self { service, folder, http, base, key }
    }

    /// One request. `headers` beside the credential.
    #[allow(clippy::too_many_arguments, reason = "the parts of a request")]
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        bearer: Option<&str>,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { status, headers, body }
    }

    pub async fn get(&self, path: &str, bearer: &str) -> Answer {
        self.call("GET", path, Some(bearer), None, &[]).await
    }

    pub async fn post(&self, path: &str, bearer: &str, body: Value) -> Answer {
        self.call("POST", path, Some(bearer), Some(body), &[]).await
    }

    /// A request of somebody without credentials.
    pub async fn open(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, None, Some(body), &[]).await
    }

    pub fn tables(&self) -> rusqlite::Connection {
        let tables = rusqlite::Connection::open(self.folder.path().join("recado.db")).unwrap();
        tables.busy_timeout(Duration::from_secs(10)).unwrap();
        tables
    }

    /// The text of the newest token for a purpose that was issued to this address: what the mail's link holds.
    pub fn token(&self, purpose: &str, mail: &str) -> String {
        let sql = "select o.id from one_time_tokens o join users u on u.id = o.user_id \
                   where o.purpose = ?1 and u.mail = ?2 order by o.created_at desc, o.id desc limit 1";
        let id: Vec<u8> = self.tables().query_row(sql, [purpose, mail], |row| row.get(0)).unwrap();
        let vault = Vault::load_or_create(&self.folder.path().join("encryption.key")).unwrap();
        OneTimeTokens::of(&vault).unwrap().text(purpose, Uuid::from_slice(&id).unwrap()).unwrap()
    }

    /// Registers and proves an address: the owner of a tenant of their own.
    pub async fn owner(&self, mail: &str) -> Person {
        let body = json!({"email": mail, "password": PASSWORD, "tenant": "Example"});
        assert_eq!(self.open("/auth/register", body).await.status, 202);
        let verified = self.open("/auth/verify", json!({"token": self.token("verify", mail)})).await;
        assert_eq!(verified.status, 200, "{verified:?}");
        self.login(mail).await
    }

    /// Invites somebody into the tenant of a credential, and accepts.
    pub async fn invited(&self, bearer: &str, mail: &str, role: &str) -> Person {
        let invited = self.post("/users", bearer, json!({"email": mail, "role": role})).await;
        assert_eq!(invited.status, 201, "{invited:?}");
        let body = json!({"token": self.token("invite", mail), "password": PASSWORD});
        let accepted = self.open("/auth/invitations/accept", body).await;
        assert_eq!(accepted.status, 200, "{accepted:?}");
        self.login(mail).await
    }

    pub async fn login(&self, mail: &str) -> Person {
        let answer = self.open("/auth/login", json!({"email": mail, "password": PASSWORD})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Person {
            access: answer.text("accessToken"),
            refresh: answer.text("refreshToken"),
            login: answer.text("loginId"),
            user: answer.text("userId"),
            tenant: answer.text("tenantId"),
        }
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        self.open("/auth/refresh", json!({"refreshToken": token})).await
    }

    /// A key made by a credential.
    pub async fn made_key(&self, bearer: &str, body: Value) -> (String, String) {
        let made = self.post("/api-keys", bearer, body).await;
        assert_eq!(made.status, 201, "{made:?}");
        (made.text("key"), made.text("keyId"))
    }

    /// A session that is never started.
    pub async fn session(&self, bearer: &str) -> String {
        let made = self.post("/sessions", bearer, json!({"start": false})).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.text("sessionId")
    }

    /// A message that waits in a session.
    pub async fn message(&self, bearer: &str, session: &str) -> String {
        let body = json!({"to": "+15550100199", "content": {"type": "text", "text": "hola"}});
        let sent = self.post(&format!("/sessions/{session}/messages"), bearer, body).await;
        assert_eq!(sent.status, 202, "{sent:?}");
        sent.text("messageId")
    }

    /// Asks until the answer is `Some`.
    pub async fn until<T>(&self, what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(Instant::now() < deadline, "not seen in time: {what}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn stop(self) {
        assert!(self.service.stop().await, "the stop was late");
    }
}
