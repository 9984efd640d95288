//! Kills while stored sessions are starting: at the next start all must connect.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::rig::chance::Chance;
use crate::rig::figures::{object, round, say};
use crate::rig::setting;
use crate::rig::world::{Sandbox, Service, folder, link_all, states};

/// How long the sessions may take to get as far as the kill wants them.
const PART: Duration = Duration::from_secs(60);

/// How long all may take after the last start.
const ALL: Duration = Duration::from_secs(180);

/// The line of figures.
pub(crate) struct Figures {
    pub(crate) sessions: u64,
    pub(crate) connected: u64,
    pub(crate) states: String,
    kills: u64,
    seed: u64,
    connect: Duration,
}

/// Runs it.
pub(crate) async fn run() -> Result<Figures> {
    let (sessions, kills) = (setting("CHAOS_STARTING_SESSIONS", 100), setting("CHAOS_STARTING_KILLS", 10));
    let seed = setting("CHAOS_SEED", 20_260_301);
    let mut chance = Chance::new(seed);
    say(&format!("chaos while starting: {kills} kills, {sessions} sessions, seed {seed}"));
    let folder = folder()?;
    let sandbox = Sandbox::start(folder.path()).await?;
    let mut service = Service::start(folder.path(), &[]).await?;
    link_all(&service, &sandbox, (0..sessions).map(|n| format!("account-{n}"))).await?;
    for kill in 0..kills {
        service.kill();
        reach(&sandbox, |online| online == 0).await?;
        service.launch()?;
        let part = 1 + chance.next() % (sessions - 1).max(1);
        let online = reach(&sandbox, |online| online >= part).await?;
        say(&format!("  kill {:>2} with {online} of {sessions} online", kill + 1));
    }
    service.kill();
    reach(&sandbox, |online| online == 0).await?;
    service.again().await?;
    let started = Instant::now();
    let (connected, states) = all(&service, sessions).await?;
    Ok(Figures { sessions, connected, states, kills, seed, connect: started.elapsed() })
}

/// Waits until the sandbox's count of devices online is as wanted; the count.
async fn reach(sandbox: &Sandbox, wanted: impl Fn(u64) -> bool) -> Result<u64> {
    let mut admin = sandbox.api();
    let until = Instant::now() + PART;
    while Instant::now() < until {
        let stats = admin.get("/admin/stats").await?;
        let online = stats["online"].as_u64().context("no count of devices online")?;
        if wanted(online) {
            return Ok(online);
        }
        sleep(Duration::from_millis(5)).await;
    }
    bail!("the sessions did not get that far within {PART:?}")
}

/// Waits until the service says that all are connected, or gives up and says how far they came.
async fn all(service: &Service, sessions: u64) -> Result<(u64, String)> {
    let mut api = service.api();
    let until = Instant::now() + ALL;
    loop {
        let (connected, states) = states(&mut api).await?;
        let connected = u64::try_from(connected)?;
        if connected == sessions || Instant::now() > until {
            return Ok((connected, states));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

impl Figures {
    /// For people.
    pub(crate) fn line(&self) -> String {
        format!(
            "chaos while starting: {} kills, {} of {} connected {:.1} s after the last start",
            self.kills,
            self.connected,
            self.sessions,
            self.connect.as_secs_f64()
        )
    }

    /// For machines.
    pub(crate) fn json(&self) -> String {
        object(
            "chaos-starting",
            &json!({
                "seed": self.seed, "kills": self.kills, "sessions": self.sessions, "connected": self.connected,
                "stranded": self.sessions - self.connected, "connectSeconds": round(self.connect.as_secs_f64()),
            }),
        )
    }
}
