//! How many messages a second travel from the API to the receiving session's WebSocket event, with 1 and with 100
//! sending sessions, and what processor time each costs the service, sender and receiver together.
//!
//! Sender and receiver live in one service process, the sandbox in another. So many messages are under way at once and
//! not more, so the figure is a steady state and not the filling of a queue.

mod rig;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rig::feed::Feed;
use rig::figures::{last_line, ms, rate, round, say};
use rig::wire::Wire;
use rig::world::{Account, Sandbox, Service, folder, link_all};
use rig::{setting, usage};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// No run takes longer.
const RUN: Duration = Duration::from_secs(300);

/// Connections of the load.
const CONNECTIONS: usize = 16;

fn main() -> Result<()> {
    rig::bench("send", measure())
}

async fn measure() -> Result<()> {
    let folder = folder()?;
    let pairs = usize::try_from(setting("SEND_PAIRS", 100))?;
    let total = usize::try_from(setting("SEND_MESSAGES", 20_000))?;
    let sandbox = Sandbox::start(folder.path()).await?;
    let service = Service::start(folder.path(), &[]).await?;
    say(&format!("linking {} accounts…", 2 * pairs));
    let started = Instant::now();
    let accounts = link_all(&service, &sandbox, (0..2 * pairs).map(|n| format!("account-{n:03}"))).await?;
    say(&format!("  linked in {:.1} s", started.elapsed().as_secs_f64()));
    let pairs: Vec<(Account, Account)> =
        accounts.chunks(2).filter_map(|two| Some((two.first()?.clone(), two.get(1)?.clone()))).collect();
    // Signal sessions are made by the first messages; they are not what is measured.
    carry(&service, &sandbox, &pairs, 4 * pairs.len(), 64).await?;

    let many = carry(&service, &sandbox, &pairs, total, 1024).await?;
    many.report(&format!("{} sending sessions", pairs.len()));
    let one = carry(&service, &sandbox, &pairs[..1], total / 4, 256).await?;
    one.report("1 sending session");
    last_line(
        "send",
        &json!({
            "perSecond100": many.per_second(), "cpuMsPerMessage100": many.cpu_ms(),
            "perSecond1": one.per_second(), "cpuMsPerMessage1": one.cpu_ms(),
            "senders": pairs.len(), "messages": many.messages, "sandboxCpuMsPerMessage100": many.sandbox_ms(),
            "resumes": many.resumes + one.resumes,
        }),
    );
    Ok(())
}

/// What one run saw.
struct Run {
    messages: usize,
    took: Duration,
    cpu: Duration,
    sandbox: Duration,
    threads: String,
    resumes: u64,
}

impl Run {
    fn per_second(&self) -> f64 {
        rate(self.messages, self.took)
    }

    fn cpu_ms(&self) -> f64 {
        round(ms(self.cpu) / self.messages as f64)
    }

    fn sandbox_ms(&self) -> f64 {
        round(ms(self.sandbox) / self.messages as f64)
    }

    fn report(&self, name: &str) {
        let (rate, cpu, sandbox) = (self.per_second(), self.cpu_ms(), self.sandbox_ms());
        say(&format!(
            "  {name:<22} {rate:.0} messages/s; {cpu:.3} ms CPU each (the sandbox {sandbox:.3} ms)"
        ));
        say(&format!("  {:<22} {}", "", self.threads));
    }
}

/// Carries so many messages over these pairs in turn, at most `window` at a time.
async fn carry(
    service: &Service,
    sandbox: &Sandbox,
    pairs: &[(Account, Account)],
    messages: usize,
    window: usize,
) -> Result<Run> {
    let mut feed = Feed::open(service.addr(), service.key(), None, "type=message.received").await?;
    let (pid, threads) = (service.pid()?, usage::by_thread(service.pid()?)?);
    let (cpu, sandbox_cpu) = (usage::cpu(pid)?, usage::cpu(sandbox.pid())?);
    let room = Arc::new(Semaphore::new(window));
    let mut load = JoinSet::new();
    let started = Instant::now();
    for n in 0..CONNECTIONS.min(window) {
        let requests: Vec<Vec<u8>> = pairs
            .iter()
            .skip(n % pairs.len())
            .step_by(CONNECTIONS)
            .map(|pair| request(service, pair))
            .collect();
        let share = messages / CONNECTIONS + usize::from(n < messages % CONNECTIONS);
        load.spawn(client(service.addr(), requests, share, room.clone()));
    }
    let counting = async {
        for _n in 0..messages {
            feed.next().await?;
            room.add_permits(1);
        }
        Ok::<_, anyhow::Error>(())
    };
    timeout(RUN, counting).await.context("not all messages arrived in time")??;
    let took = started.elapsed();
    while let Some(done) = load.join_next().await {
        done??;
    }
    Ok(Run {
        messages,
        took,
        cpu: usage::cpu(pid)?.saturating_sub(cpu),
        sandbox: usage::cpu(sandbox.pid())?.saturating_sub(sandbox_cpu),
        threads: usage::threads_line(&threads, &usage::by_thread(pid)?),
        resumes: feed.resumes,
    })
}

fn request(service: &Service, (from, to): &(Account, Account)) -> Vec<u8> {
    let body = json!({"to": to.phone, "content": {"type": "text", "text": "A message of the usual length, about so."}});
    service.api().request("POST", &format!("/sessions/{}/messages", from.session), None, &body.to_string())
}

/// Sends its share, a message to each of its sessions in turn.
async fn client(addr: SocketAddr, requests: Vec<Vec<u8>>, share: usize, room: Arc<Semaphore>) -> Result<()> {
    let mut wire = Wire::connect(addr).await?;
    for request in requests.iter().cycle().take(share) {
        room.acquire().await?.forget();
        let (status, body) = wire.ask(request).await?;
        ensure!(status == 202, "{status} {}", String::from_utf8_lossy(body));
    }
    Ok(())
}
