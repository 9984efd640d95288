//! What happens to the service, through HTTP only: everything that touches a planted value.

use std::path::Path;

use recado_sandbox::{FaultKind, FaultSpec, Sandbox, SandboxConfig, ScanQr, SendText};
use reqwest::Method;
use serde_json::{Value, json};

use crate::process::Service;
use crate::values::Planted;
use crate::{SOON, until};

/// The id of one request, which its lines are found by.
pub const REQUEST: &str = "planted-request-1";

/// The trace of the same.
pub const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

const ANA: &str = "5491170001111";
const BRUNO: &str = "5491170002222";
/// Has no account.
const NOBODY: &str = "5491170003333";
/// Stands in paths and bodies where it does not belong.
const STRAY: &str = "5491170004444";

/// What the service gave out, with what each is.
#[derive(Default)]
pub struct Out {
    /// For everybody who runs it.
    pub public: Vec<(String, String)>,
    /// For whoever the data belongs to.
    pub for_its_owner: Vec<(String, String)>,
}

pub struct Story<'a> {
    service: &'a Service,
    sandbox: Sandbox,
    http: reqwest::Client,
    key: String,
    out: std::sync::Mutex<Out>,
}

impl Story<'_> {
    /// Asks; the answer is kept for the search.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> (u16, Value) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.service.base));
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.bearer_auth(&self.key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        self.out.lock().unwrap().for_its_owner.push((path.to_owned(), text.clone()));
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// The last answer is not searched: its secret is given out there, and is not to be seen elsewhere.
    pub fn given_out_here(&self) {
        self.out.lock().unwrap().for_its_owner.pop();
    }

    async fn get(&self, path: &str) -> Value {
        self.call("GET", path, None, &[]).await.1
    }

    async fn state(&self, session: &str, state: &str) {
        until(state, async || {
            (self.get(&format!("/sessions/{session}")).await["state"] == state).then_some(())
        })
        .await;
    }

    async fn create(&self) -> String {
        let key: String = self.sandbox.static_key().iter().map(|byte| format!("{byte:02x}")).collect();
        let endpoint = json!({"kind": "sandbox", "url": self.sandbox.ws_url(), "staticKey": key});
        let (status, body) =
            self.call("POST", "/sessions", Some(json!({"endpoint": endpoint, "start": true})), &[]).await;
        assert_eq!(status, 201, "{body}");
        body["sessionId"].as_str().unwrap().to_owned()
    }

    /// A session linked by QR code.
    async fn link(&self, phone: &str, name: &str, planted: &mut Planted) -> String {
        let session = self.create().await;
        let path = format!("/sessions/{session}/qr");
        let code = until("a QR code", async || {
            let (status, body) = self.call("GET", &path, None, &[]).await;
            self.given_out_here();
            (status == 200).then(|| body["qr"].as_str().unwrap().to_owned())
        })
        .await;
        planted.personal("a QR code", &code);
        let by = ScanQr { phone: Some(phone.to_owned()), name: Some(name.to_owned()) };
        let linked = self.sandbox.scan_qr(&code, by).await.unwrap();
        assert_eq!(linked.phone, phone);
        planted.personal("the private id of an account", linked.lid.split('@').next().unwrap());
        self.state(&session, "connected").await;
        session
    }

    async fn send(&self, session: &str, to: &str, text: &str, states: &[&str]) {
        let body = json!({"to": to, "content": {"type": "text", "text": text}});
        let (status, answer) =
            self.call("POST", &format!("/sessions/{session}/messages"), Some(body), &[]).await;
        assert_eq!(status, 202, "{answer}");
        let path = format!("/messages/{}", answer["messageId"].as_str().unwrap());
        until(&format!("{states:?}"), async || {
            let state = self.get(&path).await["state"].as_str().unwrap_or_default().to_owned();
            states.contains(&&*state).then_some(())
        })
        .await;
    }

    /// Links, pairs, sends and receives, with and without trouble.
    async fn talk(&self, planted: &mut Planted) {
        let (ana, bruno) = (
            self.link(ANA, "Planted Ana Name", planted).await,
            self.link(BRUNO, "Planted Bruno Name", planted).await,
        );
        let second = self.create().await;
        self.state(&second, "pending_qr").await;
        let ask = Some(json!({"phone": BRUNO}));
        let (status, paired) = self.call("POST", &format!("/sessions/{second}/pairing-code"), ask, &[]).await;
        assert_eq!(status, 200, "{paired}");
        let code = paired["pairingCode"].as_str().unwrap();
        planted.personal("a pairing code", code);
        self.sandbox.enter_code(BRUNO, code).await.unwrap();
        self.state(&second, "connected").await;
        self.send(&ana, BRUNO, "planted text that goes out", &["delivered", "read"]).await;
        let order = SendText {
            to: ANA.to_owned(),
            text: "planted text that comes in".to_owned(),
            id: None,
            reply_to: None,
            count: None,
            per_second: None,
        };
        self.sandbox.send(BRUNO, order).await.unwrap();
        until("what comes in", async || {
            let events = self.get(&format!("/events?sessionId={ana}&type=message.received&limit=200")).await;
            events.to_string().contains("planted text that comes in").then_some(())
        })
        .await;
        let of_ana = |kind| FaultSpec { phone: Some(ANA.to_owned()), times: Some(1), ..FaultSpec::new(kind) };
        self.sandbox.add_fault(FaultSpec { code: Some(463), ..of_ana(FaultKind::Nack) }).unwrap();
        self.send(&ana, BRUNO, "planted text that is refused", &["failed"]).await;
        let lost = json!({"to": NOBODY, "content": {"type": "text", "text": "planted text for nobody"}});
        let (status, _) = self.call("POST", &format!("/sessions/{ana}/messages"), Some(lost), &[]).await;
        assert_eq!(status, 202);
        self.sandbox.add_fault(of_ana(FaultKind::Drop)).unwrap();
        self.send(&ana, BRUNO, "planted text after a cut", &["delivered", "read"]).await;
        self.get(&format!("/chats/{BRUNO}/messages?sessionId={ana}")).await;
        self.get(&format!("/sessions/{ana}/timeline")).await;
        self.call("POST", &format!("/sessions/{bruno}/logout"), None, &[]).await;
        self.state(&bruno, "logged_out").await;
        self.call("DELETE", &format!("/sessions/{second}"), None, &[]).await;
    }

    /// Bad tokens, and planted values wherever a client can put one.
    async fn trouble(&self, planted: &mut Planted) {
        let wrong = format!("rec_{}", "Pl4ntedWrongKey".repeat(3).chars().take(43).collect::<String>());
        planted.secret("a key that nobody has", &wrong);
        planted.secret("a token of another system", "eyJhbGciOiJIUzI1NiJ9.plantedToken");
        for token in [&*wrong, "eyJhbGciOiJIUzI1NiJ9.plantedToken", "nonsense"] {
            let bearer = format!("Bearer {token}");
            assert_eq!(self.call("GET", "/sessions", None, &[("authorization", &bearer)]).await.0, 401);
            assert_eq!(
                self.call("GET", &format!("/ws/sessions?token={token}"), None, &[("authorization", "none")])
                    .await
                    .0,
                401
            );
        }
        let jid = format!("{STRAY}@s.whatsapp.net");
        for stray in [STRAY, &*jid, "%2B5491170004444", "ana.planted%40example.com"] {
            for path in ["", "sessions/", "messages/", "dead-letters/", "sessions/x/"] {
                let (status, _) = self.call("GET", &format!("/{path}{stray}"), None, &[]).await;
                assert!((400..500).contains(&status), "{path}{stray}: {status}");
            }
            self.get(&format!("/chats/{stray}/messages")).await;
            self.get(&format!("/chats?sessionId={stray}")).await;
            self.get(&format!("/events?after={stray}&{stray}={stray}")).await;
            for body in [
                json!({"to": stray}),
                json!({"to": stray, "content": stray}),
                json!({stray: stray}),
                json!({"to": 5_491_170_004_444_u64, "content": {"type": stray, "text": "planted text in a bad body"}}),
                json!({"to": format!("{stray}@nowhere"), "content": {"type": "text", "text": "planted text to nowhere"}}),
            ] {
                let (status, _) = self.call("POST", "/sessions/x/messages", Some(body.clone()), &[]).await;
                assert!((400..500).contains(&status), "{status}");
                self.call("POST", &format!("/chats/{stray}/messages"), Some(body.clone()), &[]).await;
                self.call("PUT", "/admin/log-level", Some(body), &[]).await;
            }
            let headers = [
                ("idempotency-key", stray),
                ("x-request-id", stray),
                ("traceparent", stray),
                ("user-agent", stray),
            ];
            self.call("POST", "/sessions", Some(json!({"name": stray, "start": false})), &headers).await;
        }
        let made_up = format!("X{STRAY}");
        assert_eq!(self.call(&made_up, "/sessions", None, &[]).await.0, 405);
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let named = [("x-request-id", REQUEST), ("traceparent", &*parent)];
        assert_eq!(self.call("GET", "/sessions/nonsense", None, &named).await.0, 400);
    }

    /// Louder and back, by itself.
    async fn dial(&self) {
        let configured = self.get("/admin/log-level").await["configured"].clone();
        let louder = json!({"level": "off", "forSeconds": 1});
        let (status, shown) = self.call("PUT", "/admin/log-level", Some(louder), &[]).await;
        assert_eq!((status, shown["level"].as_str()), (200, Some("off")), "{shown}");
        assert!(shown["until"].is_string(), "{shown}");
        until("the level from before", async || {
            let shown = self.get("/admin/log-level").await;
            (shown["level"] == configured && shown.get("until").is_none()).then_some(())
        })
        .await;
    }
}

/// The whole story.
pub async fn run(service: &Service, key_file: &Path, planted: &mut Planted) -> Out {
    recado::commands::service::install_crypto();
    let http = reqwest::Client::builder().timeout(SOON).build().unwrap();
    let ready = http.get(format!("{}/readyz", service.base));
    until("the service", async || {
        assert!(!service.has_ended(), "it ended at once: {}", service.output().1);
        let answer = ready.try_clone().unwrap().send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    let key = until("the first key", async || std::fs::read_to_string(key_file).ok()).await.trim().to_owned();
    planted.secret("the API key", &key);
    for number in [ANA, BRUNO, NOBODY, STRAY] {
        planted.personal("a phone number", number);
    }
    for text in ["planted text", "Planted Ana Name", "Planted Bruno Name", "ana.planted"] {
        planted.personal("a text or name", text);
    }
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let story = Story { service, sandbox, http, key, out: std::sync::Mutex::default() };
    story.talk(planted).await;
    story.trouble(planted).await;
    story.people(&key_file.with_file_name("data").join("mail"), planted).await;
    story.dial().await;
    let mut after = "0".to_owned();
    loop {
        let page = story.get(&format!("/events?after={after}&limit=200")).await;
        let next = page["nextAfter"].as_str().unwrap().to_owned();
        if next == after {
            break;
        }
        after = next;
    }
    for path in ["/metrics", "/readyz", "/admin/tree", "/admin/nodes", "/admin/log-level"] {
        story.get(path).await;
        let mut out = story.out.lock().unwrap();
        let shown = out.for_its_owner.pop().unwrap();
        out.public.push(shown);
    }
    let Story { sandbox, out, .. } = story;
    let _accounts = sandbox.stop().await.unwrap();
    out.into_inner().unwrap()
}
