//! Kills of the whole service under load, every second one in the middle of an inbound burst.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::bursts::{self, Inbound};
use crate::check::{self, Log};
use crate::load::{self, Ledger};
use crate::rig::chance::Chance;
use crate::rig::feed::Feed;
use crate::rig::figures::{object, round, say};
use crate::rig::setting;
use crate::rig::world::{Account, Sandbox, Service, folder, link_all, online};

/// How long the rest of the load may take to be answered once it is told to stop.
const FINISH: Duration = Duration::from_secs(240);

/// The size of a run.
struct Size {
    seed: u64,
    kills: u64,
    sessions: usize,
    strangers: usize,
    clients: usize,
    sends_per_second: u64,
    burst_per_second: u64,
}

impl Size {
    fn read() -> Self {
        let count = |name, default| usize::try_from(setting(name, default)).unwrap_or(1);
        Self {
            seed: setting("CHAOS_SEED", 20_260_301),
            kills: setting("CHAOS_KILLS", 20),
            sessions: count("CHAOS_SESSIONS", 8).max(2),
            strangers: count("CHAOS_STRANGERS", 4).max(1),
            clients: count("CHAOS_CLIENTS", 6).max(1),
            sends_per_second: setting("CHAOS_SENDS_PER_SECOND", 60).max(1),
            burst_per_second: setting("CHAOS_BURST_PER_SECOND", 500).max(1),
        }
    }
}

/// The line of figures.
pub(crate) struct Figures {
    size: Size,
    bursts: u64,
    accepted: usize,
    repeated: u64,
    contradicted: u64,
    outgoing: check::Outgoing,
    inbound_sent: usize,
    inbound: check::Incoming,
    log: Log,
    watched: Log,
    resumes: u64,
    took: Duration,
}

/// Runs it.
pub(crate) async fn run() -> Result<Figures> {
    let started = Instant::now();
    let size = Size::read();
    let mut chance = Chance::new(size.seed);
    say(&format!("chaos: {} kills, seed {}", size.kills, size.seed));
    let folder = folder()?;
    let sandbox = Sandbox::start(folder.path()).await?;
    let mut service = Service::start(folder.path(), &[]).await?;
    let names = (0..size.sessions).map(|n| format!("account-{n}"));
    let accounts: Arc<[Account]> = link_all(&service, &sandbox, names).await?.into();
    let strangers = bursts::strangers(&service, &sandbox, size.strangers).await?;
    let feed = Feed::open(service.addr(), service.key(), Some("0"), "").await?;
    let mut watching = JoinSet::new();
    let (finish, finished) = tokio::sync::watch::channel(None);
    watching.spawn(check::watch(feed, 1, finished));

    let ledger = Arc::new(Ledger::default());
    let clients = clients(&service, &accounts, &ledger, (&size, &mut chance));
    let mut world = World { sandbox: &sandbox, accounts: &accounts, strangers: &strangers, size: &size };
    let sent = world.kill_again_and_again(&mut service, &mut chance).await?;
    ledger.stop.store(true, Ordering::Relaxed);
    finish_clients(clients).await?;
    let inbound_sent = sent.values().map(Vec::len).sum();

    say("  settling…");
    let accepted = ledger.accepted();
    check::settle(&service, &sandbox, &accounts, &accepted).await?;
    let log = check::log(&service, 1).await?;
    finish.send_replace(Some(log.positions.clone()));
    let watched = timeout(FINISH, watching.join_next()).await.context("the WebSocket did not catch up")?;
    let (watched, resumes) = watched.context("no watcher")???;
    Ok(Figures {
        bursts: size.kills / 2,
        accepted: accepted.len(),
        repeated: ledger.repeated.load(Ordering::Relaxed),
        contradicted: ledger.contradicted.load(Ordering::Relaxed),
        outgoing: check::outgoing(&service, &sandbox, &accounts, &accepted, &log).await?,
        inbound_sent,
        inbound: check::incoming(&sandbox, &accounts, &sent, &log).await?,
        log,
        watched,
        resumes,
        took: started.elapsed(),
        size,
    })
}

fn clients(
    service: &Service,
    accounts: &Arc<[Account]>,
    ledger: &Arc<Ledger>,
    (size, chance): (&Size, &mut Chance),
) -> JoinSet<Result<()>> {
    let pace = Duration::from_secs_f64(size.clients as f64 / size.sends_per_second as f64);
    let mut clients = JoinSet::new();
    for n in 0..size.clients {
        let shared = (ledger.clone(), chance.fork(), pace);
        clients.spawn(load::client(format!("client-{n}"), service.api(), accounts.clone(), shared));
    }
    clients
}

async fn finish_clients(mut clients: JoinSet<Result<()>>) -> Result<()> {
    let all = async {
        while let Some(done) = clients.join_next().await {
            done??;
        }
        Ok(())
    };
    timeout(FINISH, all).await.context("the clients did not finish")?
}

struct World<'w> {
    sandbox: &'w Sandbox,
    accounts: &'w Arc<[Account]>,
    strangers: &'w [String],
    size: &'w Size,
}

impl World<'_> {
    async fn kill_again_and_again(&mut self, service: &mut Service, chance: &mut Chance) -> Result<Inbound> {
        let mut sent = Inbound::new();
        for kill in 0..self.size.kills {
            let burst = kill % 2 == 1;
            // Most kills hit live sessions, some hit a service that is still connecting them.
            if burst || chance.below(4) > 0 {
                online(self.sandbox, self.accounts.len() as u64, Duration::from_secs(90)).await?;
            }
            let mut bursting = JoinSet::new();
            if burst {
                self.burst(&mut bursting, chance);
            }
            sleep(chance.between(300, 1_500)).await;
            service.kill();
            while let Some(done) = bursting.join_next().await {
                let (session, ids) = done??;
                sent.entry(session).or_default().extend(ids);
            }
            let ready = service.again().await?;
            say(&format!(
                "  kill {:>2}{}, ready again after {:.2} s",
                kill + 1,
                if burst { " in a burst" } else { "" },
                ready.as_secs_f64()
            ));
        }
        online(self.sandbox, self.accounts.len() as u64, Duration::from_secs(90)).await?;
        Ok(sent)
    }

    /// Two seconds of inbound at full rate; the kill falls into them, the rest arrives while the service is away.
    fn burst(&self, bursting: &mut JoinSet<Result<(String, Vec<String>)>>, chance: &mut Chance) {
        let pace = (self.size.burst_per_second / self.strangers.len() as u64).max(1);
        for stranger in self.strangers {
            let to = self.accounts[chance.below(self.accounts.len())].clone();
            bursting.spawn(bursts::burst(self.sandbox.api(), stranger.clone(), to, (2 * pace, pace)));
        }
    }
}

impl Figures {
    /// For people.
    pub(crate) fn line(&self) -> String {
        format!(
            "chaos: {} kills ({} in bursts), {} accepted sends, stuck {}, lost at phones {}, copies at phones {}; {} inbound \
             receipted of {} sent, acked and missing {}; {} events, gaps {}, duplicates {}, order violations {}; {:.0} s",
            self.size.kills,
            self.bursts,
            self.accepted,
            self.outgoing.stuck,
            self.outgoing.lost,
            self.outgoing.copies,
            self.inbound.receipted,
            self.inbound_sent,
            self.inbound.missing,
            self.log.events,
            self.log.gaps + self.watched.gaps,
            self.log.duplicates + self.watched.duplicates,
            self.log.disorder + self.watched.disorder,
            self.took.as_secs_f64(),
        )
    }

    /// For machines.
    pub(crate) fn json(&self) -> String {
        object(
            "chaos",
            &json!({
                "seed": self.size.seed, "kills": self.size.kills, "burstKills": self.bursts,
                "accepted": self.accepted, "stuck": self.outgoing.stuck, "failed": self.outgoing.failed,
                "lostAtPhones": self.outgoing.lost, "copiesAtPhones": self.outgoing.copies,
                "requestsRepeated": self.repeated, "keysContradicted": self.contradicted,
                "acceptedTwice": self.outgoing.twice, "inboundSent": self.inbound_sent,
                "inboundReceipted": self.inbound.receipted, "ackedAndMissing": self.inbound.missing,
                "inboundNotStored": self.inbound.not_stored, "receivedTwice": self.log.received_twice,
                "events": self.log.events, "gaps": self.log.gaps, "duplicates": self.log.duplicates,
                "orderViolations": self.log.disorder, "webSocketGaps": self.watched.gaps,
                "webSocketDuplicates": self.watched.duplicates, "webSocketOrderViolations": self.watched.disorder,
                "webSocketResumes": self.resumes, "seconds": round(self.took.as_secs_f64()),
            }),
        )
    }

    /// The promises that did not hold.
    pub(crate) fn broken(&self) -> Vec<String> {
        let zeros = [
            ("accepted and not ended", self.outgoing.stuck),
            ("failed without a reason", self.outgoing.without_reason),
            ("sent and not at the phone", self.outgoing.lost),
            ("accepted twice under one key", self.outgoing.twice),
            ("the same key, another answer", usize::try_from(self.contradicted).unwrap_or(usize::MAX)),
            ("acked and missing", self.inbound.missing),
            ("received twice in the log", self.log.received_twice),
            ("gaps in the log", self.log.gaps),
            ("duplicates in the log", self.log.duplicates),
            ("order violations in the log", self.log.disorder),
            ("gaps on the WebSocket", self.watched.gaps),
            ("duplicates on the WebSocket", self.watched.duplicates),
            ("order violations on the WebSocket", self.watched.disorder),
        ];
        let mut broken: Vec<String> = zeros
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name}: {count}"))
            .collect();
        if self.inbound.missing > 0 {
            broken.push(format!("not stored were {:?}", self.inbound.such_as));
        }
        // A run in which nothing happened proves nothing.
        if self.accepted == 0 || self.inbound.receipted == 0 || self.watched.events != self.log.events {
            broken.push(format!(
                "accepted {}, receipted {}, events {} in the log and {} on the WebSocket",
                self.accepted, self.inbound.receipted, self.log.events, self.watched.events
            ));
        }
        broken
    }
}
