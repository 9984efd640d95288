//! The demo's story, step by step, and what it measures.

use std::time::Duration;

use anyhow::{Context, Result};
use recado_sandbox::{FaultKind, FaultSpec, Sandbox, ScanQr, SendText};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Client, Watcher};
use super::table;

/// Texts each account sends to the next.
const TEXTS: usize = 5;

/// How long any step may take before the demo gives up.
const STEP: Duration = Duration::from_secs(120);

/// What the demo found.
pub(super) struct Figures {
    sessions: usize,
    accepted: u64,
    read: u64,
    failed: u64,
    phone_sent: u64,
    expected: u64,
    received: u64,
    repeats: u64,
    at_phones: u64,
    events: u64,
    gaps: u64,
    duplicates: u64,
    disorder: u64,
    link: Duration,
    carry: Duration,
    heal: Duration,
    total: Duration,
}

impl Figures {
    fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
            + self.gaps
            + self.accepted.saturating_sub(self.read + self.failed)
    }

    fn repeated(&self) -> u64 {
        self.repeats + self.duplicates
    }

    /// Whether every promise held.
    pub(super) fn clean(&self) -> bool {
        self.lost() == 0 && self.repeated() == 0 && self.disorder == 0 && self.failed == 0
    }

    /// For people.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            ("sessions linked", self.sessions.to_string()),
            ("messages accepted by the API", self.accepted.to_string()),
            ("… of them read", self.read.to_string()),
            ("… in clear at the phones", self.at_phones.to_string()),
            ("messages sent from phones", self.phone_sent.to_string()),
            ("messages received by sessions", self.received.to_string()),
            ("events on the WebSocket", self.events.to_string()),
            ("lost", self.lost().to_string()),
            ("duplicates", self.repeated().to_string()),
            ("out of order", self.disorder.to_string()),
            ("linking all, seconds", format!("{:.2}", self.link.as_secs_f64())),
            ("carrying all up to read, seconds", format!("{:.2}", self.carry.as_secs_f64())),
            ("a killed link healed, seconds", format!("{:.2}", self.heal.as_secs_f64())),
            ("in all, seconds", format!("{:.2}", self.total.as_secs_f64())),
        ]
    }

    /// For machines.
    pub(super) fn json(&self) -> String {
        json!({
            "name": "demo", "sessions": self.sessions, "accepted": self.accepted, "read": self.read,
            "received": self.received, "expected": self.expected, "events": self.events,
            "lost": self.lost(), "duplicates": self.repeated(), "disorder": self.disorder,
            "linkSeconds": self.link.as_secs_f64(), "carrySeconds": self.carry.as_secs_f64(),
            "healSeconds": self.heal.as_secs_f64(), "totalSeconds": self.total.as_secs_f64(),
        })
        .to_string()
    }
}

struct Account {
    session: String,
    phone: String,
}

/// Plays the story.
pub(super) async fn play(base: &str, key: &str, sandbox: &Sandbox, sessions: usize) -> Result<Figures> {
    let started = Instant::now();
    let client = Client::new(base, key)?;
    let few = sessions <= 3;
    let mut watcher = client.follow(few).await?;
    table::heading("Linking by QR code");
    let accounts = link_all(&client, &mut watcher, sandbox, sessions).await?;
    let link = started.elapsed();

    table::heading("Texts both ways, and from a phone");
    let carrying = Instant::now();
    let accepted = send_all(&client, &accounts, "hola").await?;
    let phone_sent = phones_send(sandbox, &accounts).await?;
    let seen = accepted as u64;
    let wanted = seen + phone_sent;
    watcher.until("all messages delivered", STEP, |log| log.reached(&["delivered", "read"]) >= seen).await?;
    watcher.until("all messages received", STEP, |log| log.received.len() as u64 >= wanted).await?;
    table::heading("The recipients read them on their phones");
    for (i, from) in accounts.iter().enumerate() {
        sandbox.read(&accounts[(i + 1) % accounts.len()].phone, &from.phone, &[])?;
    }
    watcher.until("all messages read", STEP, |log| log.reached(&["read"]) >= seen).await?;
    let carry = carrying.elapsed();

    table::heading("A link is cut; messages go on being accepted");
    let (heal, more) = cut_one(&client, &mut watcher, sandbox, &accounts).await?;
    let accepted = seen + more;
    let expected = wanted + more;
    watcher.until("the late messages received", STEP, |log| log.received.len() as u64 >= expected).await?;
    sandbox.read(&accounts[1].phone, &accounts[0].phone, &[])?;
    watcher.until("the late messages read", STEP, |log| log.reached(&["read"]) >= accepted).await?;
    let at_phones = inboxes(sandbox, &accounts)?;
    let figures = watcher.look(|log| Figures {
        sessions,
        accepted,
        read: log.reached(&["read"]),
        failed: log.reached(&["failed"]),
        phone_sent,
        expected,
        received: log.received.len() as u64,
        repeats: log.received.values().map(|times| times - 1).sum(),
        at_phones,
        events: log.events,
        gaps: log.gaps,
        duplicates: log.duplicates,
        disorder: log.disorder,
        link,
        carry,
        heal,
        total: started.elapsed(),
    });
    Ok(figures.await)
}

async fn link_all(
    client: &Client,
    watcher: &mut Watcher,
    sandbox: &Sandbox,
    count: usize,
) -> Result<Vec<Account>> {
    let static_key: String = sandbox.static_key().iter().map(|byte| format!("{byte:02x}")).collect();
    let endpoint = json!({"kind": "sandbox", "url": sandbox.ws_url(), "staticKey": static_key});
    let mut sessions = Vec::new();
    for i in 0..count {
        let body = json!({"name": format!("account-{i}"), "endpoint": endpoint});
        let made = client.post("/sessions", &format!("demo-session-{i}"), &body).await?;
        sessions.push(made["sessionId"].as_str().context("no sessionId")?.to_owned());
    }
    let mut accounts = Vec::new();
    for (i, session) in sessions.into_iter().enumerate() {
        let mine = session.clone();
        watcher.until("a QR code", STEP, move |log| log.codes.contains_key(&mine)).await?;
        if count <= 3 {
            let picture = client.text(&format!("/sessions/{session}/qr"), "text/plain").await?;
            table::line(&format!("{picture}\n  A virtual phone scans it."));
        }
        let code = client.get(&format!("/sessions/{session}/qr")).await?;
        let code = code["qr"].as_str().context("no QR code")?.to_owned();
        let name = Some(format!("Account {i}"));
        let linked = sandbox.scan_qr(&code, ScanQr { phone: None, name }).await?;
        accounts.push(Account { session, phone: linked.phone });
    }
    watcher.until("all connected", STEP, |log| log.logins.len() >= count).await?;
    Ok(accounts)
}

async fn send_all(client: &Client, accounts: &[Account], text: &str) -> Result<usize> {
    for round in 0..TEXTS {
        for (i, from) in accounts.iter().enumerate() {
            let to = &accounts[(i + 1) % accounts.len()];
            send(client, from, to, &format!("{text} {round}"), &format!("demo-{i}-{round}")).await?;
        }
    }
    Ok(TEXTS * accounts.len())
}

async fn send(client: &Client, from: &Account, to: &Account, text: &str, key: &str) -> Result<Value> {
    let body = json!({"to": to.phone, "content": {"type": "text", "text": text}});
    client.post(&format!("/sessions/{}/messages", from.session), key, &body).await
}

async fn phones_send(sandbox: &Sandbox, accounts: &[Account]) -> Result<u64> {
    for (i, from) in accounts.iter().enumerate() {
        let to = accounts[(i + 1) % accounts.len()].phone.clone();
        let text = "typed on a phone".to_owned();
        sandbox
            .send(&from.phone, SendText { to, text, id: None, reply_to: None, count: None, per_second: None })
            .await?;
    }
    Ok(accounts.len() as u64)
}

async fn cut_one(
    client: &Client,
    watcher: &mut Watcher,
    sandbox: &Sandbox,
    accounts: &[Account],
) -> Result<(Duration, u64)> {
    let [first, second, ..] = accounts else { anyhow::bail!("two accounts are needed") };
    let session = first.session.clone();
    let logins = watcher.look(|log| log.logins.get(&session).copied().unwrap_or_default()).await;
    sandbox.add_fault(FaultSpec { phone: Some(first.phone.clone()), ..FaultSpec::new(FaultKind::Drop) })?;
    for i in 0..TEXTS {
        send(client, first, second, &format!("while cut {i}"), &format!("demo-cut-{i}")).await?;
    }
    let mine = first.session.clone();
    let again =
        move |log: &super::client::EventLog| log.logins.get(&mine).copied().unwrap_or_default() > logins;
    let heal = watcher.until("the cut link connected again", STEP, again).await?;
    Ok((heal, TEXTS as u64))
}

fn inboxes(sandbox: &Sandbox, accounts: &[Account]) -> Result<u64> {
    let mut total = 0;
    for account in accounts {
        total += sandbox.inbox(&account.phone, 0, 1)?.total;
    }
    Ok(total)
}
