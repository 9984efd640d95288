//! What must hold in the end, counted from the API, the WebSocket and the sandbox's own books.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use recado::domain::ids::{SessionId, Shard};
use serde_json::Value;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep};

use crate::bursts::Inbound;
use crate::load::Accepted;
use crate::rig::api::{Api, text};
use crate::rig::feed::Feed;
use crate::rig::world::{Account, Sandbox, Service};

/// How long everything may take to come to rest. Nothing is called stuck before.
const SETTLE: Duration = Duration::from_secs(300);

/// States in which a send has ended.
const ENDED: [&str; 5] = ["sent", "delivered", "read", "played", "failed"];

/// How far a reader is in each shard.
pub(crate) type Positions = BTreeMap<u16, i64>;

/// The event log as one reader saw it.
pub(crate) struct Log {
    shards: u16,
    pub(crate) positions: Positions,
    pub(crate) events: usize,
    pub(crate) gaps: usize,
    pub(crate) duplicates: usize,
    pub(crate) disorder: usize,
    /// `message.received` of the same message to the same session.
    pub(crate) received_twice: usize,
    ids: HashSet<String>,
    seqs: HashMap<String, i64>,
    /// (session, WhatsApp id) of what came in.
    received: HashSet<(String, String)>,
    /// `message.queued` by message.
    queued: HashMap<String, usize>,
}

impl Log {
    fn of(shards: u16) -> Self {
        Self {
            shards,
            positions: Positions::new(),
            events: 0,
            gaps: 0,
            duplicates: 0,
            disorder: 0,
            received_twice: 0,
            ids: HashSet::new(),
            seqs: HashMap::new(),
            received: HashSet::new(),
            queued: HashMap::new(),
        }
    }

    /// Whether it holds everything up to these.
    fn reaches(&self, last: &Positions) -> bool {
        last.iter().all(|(shard, last)| self.positions.get(shard).is_some_and(|here| here >= last))
    }

    fn take(&mut self, event: &Value) -> Result<()> {
        let position = event["position"].as_i64().context("an event without a position")?;
        let session = text(event, "sessionId");
        let shard = Shard::of(SessionId(session.parse()?), self.shards);
        self.events += 1;
        let last = self.positions.entry(shard.0).or_default();
        match position - *last {
            1 => *last = position,
            step if step > 1 => {
                self.gaps += 1;
                *last = position;
            }
            _ => self.duplicates += 1,
        }
        self.duplicates += usize::from(!self.ids.insert(text(event, "eventId")));
        let seq = event["seq"].as_i64().context("an event without a seq")?;
        let last = self.seqs.insert(session.clone(), seq).unwrap_or_default();
        self.disorder += usize::from(seq != last + 1);
        let data = &event["data"];
        match event["type"].as_str().unwrap_or_default() {
            "message.received" => {
                let fresh = self.received.insert((session, text(data, "waMessageId")));
                self.received_twice += usize::from(!fresh);
            }
            "message.queued" => *self.queued.entry(text(data, "messageId")).or_default() += 1,
            _ => {}
        }
        Ok(())
    }
}

/// Reads the log as the API gives it.
pub(crate) async fn log(service: &Service, shards: u16) -> Result<Log> {
    let mut api = service.api();
    let mut log = Log::of(shards);
    let mut after = "0".to_owned();
    loop {
        let page = api.get(&format!("/events?after={after}&limit=200")).await?;
        for event in page["items"].as_array().context("a page without items")? {
            log.take(event)?;
        }
        let next = page["nextAfter"].as_str().context("a page without nextAfter")?.to_owned();
        if next == after {
            return Ok(log);
        }
        after = next;
    }
}

/// Follows the log over the WebSocket, through every kill, until the positions it is told in the end.
pub(crate) async fn watch(
    mut feed: Feed,
    shards: u16,
    mut until: Receiver<Option<Positions>>,
) -> Result<(Log, u64)> {
    let mut log = Log::of(shards);
    loop {
        if until.borrow().as_ref().is_some_and(|last| log.reaches(last)) {
            return Ok((log, feed.resumes));
        }
        tokio::select! {
            event = feed.next() => log.take(&serde_json::from_str(&event?)?)?,
            _changed = until.changed(), if until.borrow().is_none() => {}
        }
    }
}

/// Waits until every accepted send has ended and the sandbox has nothing left for our devices; then for the events of
/// that. Says nothing about what it found.
pub(crate) async fn settle(
    service: &Service,
    sandbox: &Sandbox,
    accounts: &[Account],
    accepted: &[Accepted],
) -> Result<()> {
    let (mut api, mut admin) = (service.api(), sandbox.api());
    let until = Instant::now() + SETTLE;
    let mut open: Vec<&Accepted> = accepted.iter().collect();
    while !open.is_empty() && Instant::now() < until {
        let mut still = Vec::new();
        for one in open {
            let view = api.get(&format!("/messages/{}", one.message)).await?;
            if !ENDED.contains(&text(&view, "state").as_str()) {
                still.push(one);
            }
        }
        open = still;
        sleep(Duration::from_millis(200)).await;
    }
    while waiting(&mut admin, accounts).await? > 0 && Instant::now() < until {
        sleep(Duration::from_millis(200)).await;
    }
    rest(&mut api).await
}

/// Stanzas that the sandbox still holds for our devices.
async fn waiting(admin: &mut Api, accounts: &[Account]) -> Result<u64> {
    let mut waiting = 0;
    for account in accounts {
        let view = admin.get(&format!("/admin/accounts/{}", account.phone)).await?;
        let devices = view["devices"].as_array().context("an account without devices")?;
        waiting += devices.iter().filter_map(|device| device["queued"].as_u64()).sum::<u64>();
    }
    Ok(waiting)
}

/// Waits until no event has come for a while.
async fn rest(api: &mut Api) -> Result<()> {
    let until = Instant::now() + SETTLE;
    let (mut last, mut since) = ("0".to_owned(), Instant::now());
    while since.elapsed() < Duration::from_secs(3) {
        ensure!(Instant::now() < until, "the event log does not come to rest");
        let page = api.get(&format!("/events?after={last}&limit=200")).await?;
        let next = page["nextAfter"].as_str().context("a page without nextAfter")?.to_owned();
        if next == last {
            sleep(Duration::from_millis(200)).await;
        } else {
            (last, since) = (next, Instant::now());
        }
    }
    Ok(())
}

/// What became of the accepted sends.
#[derive(Default)]
pub(crate) struct Outgoing {
    pub(crate) stuck: usize,
    pub(crate) failed: usize,
    pub(crate) without_reason: usize,
    pub(crate) lost: usize,
    pub(crate) copies: usize,
    pub(crate) twice: usize,
}

/// Looks at every accepted send: its state, and whether its phone has it.
pub(crate) async fn outgoing(
    service: &Service,
    sandbox: &Sandbox,
    accounts: &[Account],
    accepted: &[Accepted],
    log: &Log,
) -> Result<Outgoing> {
    let mut api = service.api();
    let inboxes = inboxes(&mut sandbox.api(), accounts).await?;
    let mut found = Outgoing::default();
    for one in accepted {
        let view = api.get(&format!("/messages/{}", one.message)).await?;
        let state = text(&view, "state");
        let copies =
            inboxes.get(&one.to).and_then(|inbox| inbox.get(&one.wa_id)).copied().unwrap_or_default();
        if !ENDED.contains(&state.as_str()) {
            found.stuck += 1;
        } else if state == "failed" {
            found.failed += 1;
            found.without_reason += usize::from(text(&view, "code").is_empty());
        } else {
            found.lost += usize::from(copies == 0);
        }
        found.copies += usize::try_from(copies.saturating_sub(1))?;
        found.twice += log.queued.get(&one.message).map_or(0, |times| times - 1);
    }
    // Every key was answered in the end, so a message that no answer names was accepted beside one that was.
    found.twice += log.queued.len().saturating_sub(accepted.len());
    Ok(found)
}

/// How often each phone got each message, by id.
async fn inboxes(admin: &mut Api, accounts: &[Account]) -> Result<HashMap<String, HashMap<String, u64>>> {
    let mut all = HashMap::new();
    for account in accounts {
        let mut inbox = HashMap::new();
        let mut after = 0;
        loop {
            let page = admin
                .get(&format!("/admin/accounts/{}/inbox?after={after}&limit=5000", account.phone))
                .await?;
            let messages = page["messages"].as_array().context("an inbox without messages")?;
            for message in messages {
                inbox.insert(text(message, "messageId"), message["copies"].as_u64().unwrap_or(1));
            }
            if messages.is_empty() {
                break;
            }
            after = page["next"].as_u64().context("an inbox without next")?;
        }
        all.insert(account.phone.clone(), inbox);
    }
    Ok(all)
}

/// What became of what strangers sent, and of everything our devices sent a receipt for.
#[derive(Default)]
pub(crate) struct Incoming {
    pub(crate) receipted: usize,
    pub(crate) missing: usize,
    pub(crate) not_stored: usize,
    /// Session and id of some of these, for an error.
    pub(crate) such_as: Vec<String>,
}

/// Compares the sandbox's list of receipts with the store.
pub(crate) async fn incoming(
    sandbox: &Sandbox,
    accounts: &[Account],
    sent: &Inbound,
    log: &Log,
) -> Result<Incoming> {
    let mut admin = sandbox.api();
    let mut found = Incoming::default();
    for account in accounts {
        let stored = |id: &String| log.received.contains(&(account.session.clone(), id.clone()));
        let receipted = receipted(&mut admin, account).await?;
        found.receipted += receipted.len();
        let missing: Vec<_> = receipted.iter().filter(|id| !stored(id)).collect();
        found.missing += missing.len();
        found.such_as.extend(missing.iter().take(5).map(|id| format!("{} {id}, receipted", account.session)));
        let sent = sent.get(&account.session).map(Vec::as_slice).unwrap_or_default();
        let absent: Vec<_> = sent.iter().filter(|id| !stored(id)).collect();
        found.not_stored += absent.len();
        found.such_as.extend(absent.iter().take(5).map(|id| format!("{} {id}", account.session)));
    }
    Ok(found)
}

async fn receipted(admin: &mut Api, account: &Account) -> Result<HashSet<String>> {
    let mut ids = HashSet::new();
    let mut after = 0;
    loop {
        let path = format!(
            "/admin/accounts/{}/receipted?device={}&after={after}&limit=5000",
            account.phone, account.device
        );
        let page = admin.get(&path).await?;
        let new = page["ids"].as_array().context("no ids of receipts")?;
        if new.is_empty() {
            return Ok(ids);
        }
        ids.extend(new.iter().filter_map(|id| id.as_str().map(str::to_owned)));
        after = page["next"].as_u64().context("no next of receipts")?;
    }
}
