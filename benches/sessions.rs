//! A thousand connected sessions in one service process: memory of each (the slope, not the average), threads, what
//! they cost at rest, and how they all come back after the sandbox restarts.

mod rig;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rig::figures::{last_line, round, say, slope};
use rig::world::{Sandbox, Service, folder, link_all, online, states};
use rig::{setting, usage};
use serde_json::json;
use tokio::time::{Instant, sleep};

/// Points of the line whose slope is a session's memory.
const POINTS: u64 = 4;

/// Quiet before memory is read.
const SETTLE: Duration = Duration::from_secs(6);

/// How long all may take to come back.
const BACK: Duration = Duration::from_secs(300);

fn main() -> Result<()> {
    rig::bench("sessions", measure())
}

async fn measure() -> Result<()> {
    let folder = folder()?;
    let count = setting("SESSIONS", 1000);
    let gate = setting("SESSIONS_GATE", 32);
    let quiet = Duration::from_secs(setting("SESSIONS_IDLE_SECONDS", 30));
    let mut sandbox = Sandbox::start(folder.path()).await?;
    let service = Service::start(folder.path(), &[("RECADO_LOGIN_GATE", &gate.to_string())]).await?;
    let pid = service.pid()?;
    let (mut points, mut threads) = (Vec::new(), Vec::new());
    let linking = Instant::now();
    for point in 1..=POINTS {
        let (from, to) = (count * (point - 1) / POINTS, count * point / POINTS);
        link_all(&service, &sandbox, (from..to).map(|n| format!("account-{n:04}"))).await?;
        online(&sandbox, to, BACK).await?;
        sleep(SETTLE).await;
        let (memory, running) = (usage::anonymous(pid)?, usage::threads(pid)?);
        say(&format!("  {to:>5} sessions   {:>8.1} MB anonymous   {running} threads", memory as f64 / 1e6));
        points.push((to as f64, memory as f64));
        threads.push(running);
    }
    say(&format!("  linked in {:.0} s", linking.elapsed().as_secs_f64()));
    let per_session = slope(&points) / 1000.0;

    let before = (usage::cpu(pid)?, usage::by_thread(pid)?);
    sleep(quiet).await;
    let idle = usage::cpu(pid)?.saturating_sub(before.0).as_secs_f64() / quiet.as_secs_f64() * 100.0;
    say(&format!(
        "  at rest          {idle:.2} % of one core ({})",
        usage::threads_line(&before.1, &usage::by_thread(pid)?)
    ));

    say("the sandbox restarts…");
    let cut = Instant::now();
    sandbox.stop().await?;
    sandbox.again().await?;
    let back = Instant::now();
    let most = come_back(&sandbox, count, back).await?;
    let (after_up, after_cut) = (back.elapsed().as_secs_f64(), cut.elapsed().as_secs_f64());
    let (connected, line) = all_connected(&service, count).await?;
    ensure!(connected as u64 == count, "not all connected: {line}");
    ensure!(most <= gate, "{most} logins at once through a gate of {gate}");
    say(&format!(
        "  all back {after_up:.1} s after it was up again ({after_cut:.1} s after the cut); at most {most} logins at once, gate {gate}"
    ));
    let memory = usage::anonymous(pid)? as f64 / 1e6;
    last_line(
        "sessions",
        &json!({
            "sessions": count, "kbPerSession": round(per_session), "threads": threads,
            "idleCpuPercent": round(idle), "reconnectSeconds": round(after_up),
            "reconnectSecondsFromCut": round(after_cut), "maxConcurrentLogins": most, "loginGate": gate,
            "anonymousMb": round(memory), "points": points.iter().map(|(n, bytes)| (*n, round(bytes / 1e6))).collect::<Vec<_>>(),
        }),
    );
    Ok(())
}

/// Waits until all are online; the most links seen at once that were not logged in.
async fn come_back(sandbox: &Sandbox, count: u64, since: Instant) -> Result<u64> {
    let mut admin = sandbox.api();
    let mut most = 0;
    loop {
        let stats = admin.get("/admin/stats").await?;
        let read =
            |name: &str| stats[name].as_u64().with_context(|| format!("no {name} in the sandbox's stats"));
        let (links, online) = (read("links")?, read("online")?);
        most = most.max(links.saturating_sub(online));
        if online == count {
            return Ok(most);
        }
        ensure!(since.elapsed() < BACK, "{online} of {count} came back within {BACK:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The service's own view follows the sandbox's after the login's last steps.
async fn all_connected(service: &Service, count: u64) -> Result<(usize, String)> {
    let mut api = service.api();
    let started = Instant::now();
    loop {
        let (connected, line) = states(&mut api).await?;
        if connected as u64 == count || started.elapsed() > Duration::from_secs(60) {
            return Ok((connected, line));
        }
        sleep(Duration::from_millis(100)).await;
    }
}
