//! 46: the disk under the tables is full.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::bursts::{Inbound, burst, strangers};
use crate::check::{self, Log};
use crate::cluster::small_disk::SmallDisk;
use crate::load::{self, Ledger};
use crate::rig::api::Api;
use crate::rig::chance::Chance;
use crate::rig::figures::{object, round, say};
use crate::rig::process::{Process, free_addr};
use crate::rig::setting;
use crate::rig::world::{Account, Sandbox, Service, folder, link_all};

/// How large the disk is, in megabytes.
const DISK: u32 = 24;

/// What it came to.
pub(crate) struct Figures {
    seed: u64,
    refused: usize,
    accepted_while_full: usize,
    receipts_while_full: u64,
    accepted: usize,
    outgoing: check::Outgoing,
    inbound: check::Incoming,
    log: Log,
    recovered: Duration,
    restarts: u32,
}

/// The service on a disk that can be filled.
struct Scene {
    service: Service,
    process: Process,
    sandbox: Sandbox,
    disk: SmallDisk,
    accounts: Arc<[Account]>,
    stranger: String,
    start: Box<dyn Fn() -> Result<Process>>,
    restarts: u32,
}

/// Runs it; `None` where no small disk can be mounted.
pub(crate) async fn full() -> Result<Option<Figures>> {
    let seed = setting("CHAOS_SEED", 20_261_122);
    say(&format!("chaos-46: seed {seed}"));
    let folder = folder()?;
    let Some(disk) = SmallDisk::mount(&folder.path().join("data"), DISK)? else { return Ok(None) };
    let mut scene = Scene::set(folder.path(), disk).await?;
    let (ledger, mut chance) = (Arc::new(Ledger::default()), Chance::new(seed));
    let mut clients = JoinSet::new();
    for n in 0..2 {
        let shared = (ledger.clone(), chance.fork(), Duration::from_millis(150));
        let (api, accounts) = (scene.service.api(), scene.accounts.clone());
        clients.spawn(load::client(format!("client-{n}"), api, accounts, shared));
    }
    sleep(Duration::from_secs(2)).await;
    let filled = scene.disk.fill()?;
    let (refused, first) = scene.refused().await?;
    // What was on its way when the last byte was taken has had its answer.
    let (before, receipts) = (ledger.accepted().len(), scene.receipts().await?);
    let sent = scene.hear_a_stranger().await?;
    scene.watched_while_full(Duration::from_secs(5)).await?;
    let accepted_while_full = ledger.accepted().len() - before;
    let receipts_while_full = scene.receipts().await? - receipts;
    say(&format!("  {filled} bytes of ballast: refused after {:.2} s", first.as_secs_f64()));
    scene.disk.make_room()?;
    let started = Instant::now();
    let many = ledger.accepted().len();
    while ledger.accepted().len() < many + 3 {
        scene.keep_running()?;
        ensure!(
            started.elapsed() < Duration::from_secs(90),
            "it does not accept again{}",
            scene.process.last_words()
        );
        sleep(Duration::from_millis(20)).await;
    }
    let recovered = started.elapsed();
    ledger.stop.store(true, Ordering::Relaxed);
    while let Some(done) = clients.join_next().await {
        done??;
    }
    let accepted = ledger.accepted();
    let Scene { service, sandbox, accounts, restarts, .. } = &scene;
    check::settle(service, sandbox, accounts, &accepted).await?;
    let log = check::log(service, 1).await?;
    Ok(Some(Figures {
        seed,
        refused,
        accepted_while_full,
        receipts_while_full,
        accepted: accepted.len(),
        outgoing: check::outgoing(service, sandbox, accounts, &accepted, &log).await?,
        inbound: check::incoming(sandbox, accounts, &sent, &log).await?,
        log,
        recovered,
        restarts: *restarts,
    }))
}

impl Scene {
    async fn set(folder: &Path, disk: SmallDisk) -> Result<Self> {
        let (addr, key_file) = (free_addr()?, folder.join("api-key"));
        let variables = [
            ("RECADO_LISTEN", addr.to_string()),
            ("RECADO_DATA_DIR", folder.join("data").display().to_string()),
            ("RECADO_API_KEY_FILE", key_file.display().to_string()),
            ("RECADO_ENCRYPTION_KEY", "5a".repeat(32)),
            ("LOG_LEVEL", "warn".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let mut words = disk.inside();
        words.extend([env!("CARGO_BIN_EXE_recado").to_owned(), "serve".to_owned()]);
        let at = folder.to_owned();
        let start =
            move || Process::start_program(&at, ("service", Path::new("nsenter")), addr, &words, &variables);
        let sandbox = Sandbox::start(folder).await?;
        let mut process = start()?;
        process.ready("/readyz").await?;
        let mut key = String::new();
        for _try in 0..1000 {
            key = std::fs::read_to_string(&key_file).unwrap_or_default().trim().to_owned();
            if !key.is_empty() {
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
        let service = Service::elsewhere(addr, &key);
        let accounts = link_all(&service, &sandbox, (0..4).map(|n| format!("account-{n}"))).await?;
        let stranger = strangers(&service, &sandbox, 1).await?.pop().context("no stranger")?;
        let start = Box::new(start);
        Ok(Self { service, process, sandbox, disk, accounts: accounts.into(), stranger, start, restarts: 0 })
    }

    /// A process that ended for want of room is started again, as its operator's supervisor would.
    fn keep_running(&mut self) -> Result<()> {
        if self.process.has_ended()? {
            self.restarts += 1;
            ensure!(self.restarts < 200, "it ends again and again{}", self.process.last_words());
            self.process = (self.start)()?;
        }
        Ok(())
    }

    /// Asks until a send is refused; how often that took until it stayed so, and how long.
    async fn refused(&mut self) -> Result<(usize, Duration)> {
        let started = Instant::now();
        let (mut in_a_row, mut asked) = (0, 0);
        while in_a_row < 5 {
            ensure!(started.elapsed() < Duration::from_secs(60), "a full disk refuses nothing");
            self.keep_running()?;
            asked += 1;
            let body =
                json!({"to": self.accounts[0].phone, "content": {"type": "text", "text": "x".repeat(4000)}});
            let path = format!("/sessions/{}/messages", self.accounts[1].session);
            let (key, mut api) = (format!("full-{asked}"), self.service.api());
            match api.call("POST", &path, Some(&key), &body.to_string()).await {
                Ok((202, _)) => in_a_row = 0,
                Ok((500..=599, _)) | Err(_) => in_a_row += 1,
                Ok((status, answer)) => anyhow::bail!("a full disk was answered with {status} {answer}"),
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok((in_a_row, started.elapsed()))
    }

    async fn watched_while_full(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.keep_running()?;
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn hear_a_stranger(&self) -> Result<Inbound> {
        let mut sent = HashMap::new();
        let api = Api::new(self.sandbox.addr(), None);
        let (session, ids) = burst(api, self.stranger.clone(), self.accounts[0].clone(), (20, 40)).await?;
        sent.insert(session, ids);
        Ok(sent)
    }

    /// Receipts that our devices have sent to the stranger's recipient so far.
    async fn receipts(&self) -> Result<u64> {
        let view = self.sandbox.api().get(&format!("/admin/accounts/{}", self.accounts[0].phone)).await?;
        view["devices"][0]["receipted"].as_u64().context("no receipts")
    }
}

impl Figures {
    /// For machines.
    pub(crate) fn json(&self) -> String {
        object(
            "chaos-46",
            &json!({
                "seed": self.seed, "refusedInARow": self.refused, "acceptedWhileFull": self.accepted_while_full,
                "receiptsWhileFull": self.receipts_while_full, "accepted": self.accepted, "stuck": self.outgoing.stuck,
                "failed": self.outgoing.failed, "lostAtPhones": self.outgoing.lost,
                "copiesAtPhones": self.outgoing.copies, "ackedAndMissing": self.inbound.missing,
                "inboundNotStored": self.inbound.not_stored, "events": self.log.events, "gaps": self.log.gaps,
                "duplicates": self.log.duplicates, "orderViolations": self.log.disorder,
                "recoverySeconds": round(self.recovered.as_secs_f64()), "restarts": self.restarts,
            }),
        )
    }

    /// The promises that did not hold.
    pub(crate) fn broken(&self) -> Vec<String> {
        let zeros = [
            ("accepted and not ended", self.outgoing.stuck),
            ("sent and not at the phone", self.outgoing.lost),
            ("failed without a reason", self.outgoing.without_reason),
            ("acked and missing", self.inbound.missing),
            ("sent to us and not stored", self.inbound.not_stored),
            ("gaps in the log", self.log.gaps),
            ("duplicates in the log", self.log.duplicates),
            ("order violations in the log", self.log.disorder),
            ("received twice in the log", self.log.received_twice),
        ];
        zeros.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name}: {count}")).collect()
    }
}
