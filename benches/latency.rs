//! How long a message takes: from the API call until the phone has the text in clear, and from the phone's send until
//! the WebSocket frame. One message at a time, all processes on this machine, one clock.

mod rig;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rig::api::{Api, text};
use rig::feed::Feed;
use rig::figures::{Samples, last_line, say};
use rig::setting;
use rig::world::{Account, Sandbox, Service, folder, link_all};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

/// Quiet between two messages.
const PAUSE: Duration = Duration::from_millis(5);

/// No message takes longer.
const LATE: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    rig::bench("latency", measure())
}

async fn measure() -> Result<()> {
    let folder = folder()?;
    let samples = setting("LATENCY_SAMPLES", 500);
    let sandbox = Sandbox::start(folder.path()).await?;
    let service = Service::start(folder.path(), &[]).await?;
    say("linking two accounts…");
    let accounts = link_all(&service, &sandbox, ["ana", "luis"].into_iter().map(str::to_owned)).await?;
    let [ana, luis] = accounts.as_slice() else { anyhow::bail!("two accounts") };
    let mut feed = Feed::open(service.addr(), service.key(), None, "type=message.received").await?;
    // Signal sessions are made by the first messages; they are not what is measured.
    out(&service, &mut feed, (ana, luis), 20).await?;
    inward(&sandbox, &mut feed, (ana, luis), ("WARM", 20)).await?;

    say(&format!("{samples} messages each way…"));
    let sent = out(&service, &mut feed, (ana, luis), samples).await?;
    let (mut to_phone, mut to_answer, mut to_peer) =
        (Samples::default(), Samples::default(), Samples::default());
    let inbox = inbox(&mut sandbox.api(), &luis.phone).await?;
    for one in &sent {
        let arrived = inbox.get(&one.wa_id).context("a message did not reach the phone")?;
        // The phone's clock shows whole milliseconds: counted up, not down.
        to_phone.add(*arrived + 1.0 - one.at);
        to_answer.add(one.answered);
        to_peer.add(one.framed);
    }
    let mut to_frame = inward(&sandbox, &mut feed, (ana, luis), ("RIG", samples)).await?;
    let line = |name: &str, samples: &mut Samples| {
        let (p50, p99) = (samples.percentile(0.5), samples.percentile(0.99));
        say(&format!("  {name:<34} median {p50:.2} ms, p99 {p99:.2} ms"));
    };
    line("API call -> 202", &mut to_answer);
    line("API call -> phone has it in clear", &mut to_phone);
    line("API call -> receiver's WebSocket", &mut to_peer);
    line("phone's send -> WebSocket frame", &mut to_frame);
    last_line(
        "latency",
        &json!({
            "samples": to_phone.len().min(to_frame.len()),
            "apiToPhoneMedianMs": to_phone.percentile(0.5), "apiToPhoneP99Ms": to_phone.percentile(0.99),
            "phoneToWebSocketMedianMs": to_frame.percentile(0.5), "phoneToWebSocketP99Ms": to_frame.percentile(0.99),
            "apiTo202MedianMs": to_answer.percentile(0.5), "apiToReceiverWebSocketMedianMs": to_peer.percentile(0.5),
        }),
    );
    Ok(())
}

/// One message from the API.
struct Sent {
    wa_id: String,
    /// Milliseconds since 1970 just before the call.
    at: f64,
    answered: f64,
    framed: f64,
}

/// Sends from the API, one after the other, each until the receiving session shows it.
async fn out(
    service: &Service,
    feed: &mut Feed,
    (from, to): (&Account, &Account),
    count: u64,
) -> Result<Vec<Sent>> {
    let mut api = service.api();
    let path = format!("/sessions/{}/messages", from.session);
    let body = json!({"to": to.phone, "content": {"type": "text", "text": "hola"}});
    let mut sent = Vec::new();
    for _n in 0..count {
        let (started, at) = (Instant::now(), wall_ms());
        let answer = api.post(&path, &body).await?;
        let answered = started.elapsed().as_secs_f64() * 1000.0;
        let wa_id = text(&answer, "waMessageId");
        shown(feed, &to.session, &wa_id).await?;
        sent.push(Sent { wa_id, at, answered, framed: started.elapsed().as_secs_f64() * 1000.0 });
        sleep(PAUSE).await;
    }
    Ok(sent)
}

/// Sends from the phone, one after the other; how long until the frame of each.
async fn inward(
    sandbox: &Sandbox,
    feed: &mut Feed,
    (from, to): (&Account, &Account),
    (series, count): (&str, u64),
) -> Result<Samples> {
    let mut admin = sandbox.api();
    let mut times = Samples::default();
    let path = format!("/admin/accounts/{}/send", from.phone);
    for n in 0..count {
        let id = format!("{series}{n:06}");
        let body = json!({"to": to.phone, "text": "hola", "id": id});
        let started = Instant::now();
        let asked = admin.post(&path, &body);
        let seen = async {
            shown(feed, &to.session, &id).await?;
            Ok::<_, anyhow::Error>(started.elapsed())
        };
        let (_asked, seen) = tokio::try_join!(asked, seen)?;
        times.add(seen.as_secs_f64() * 1000.0);
        sleep(PAUSE).await;
    }
    Ok(times)
}

/// Reads events until the session shows this message as received.
async fn shown(feed: &mut Feed, session: &str, wa_id: &str) -> Result<()> {
    let search = async {
        loop {
            let event = feed.next().await?;
            if event.contains(wa_id) {
                let event: Value = serde_json::from_str(&event)?;
                if text(&event, "sessionId") == session {
                    return Ok(());
                }
            }
        }
    };
    timeout(LATE, search).await.context("a message was not shown in time")?
}

/// When the phone had each message in clear, by id.
async fn inbox(admin: &mut Api, phone: &str) -> Result<std::collections::HashMap<String, f64>> {
    let page = admin.get(&format!("/admin/accounts/{phone}/inbox?limit=10000")).await?;
    let messages = page["messages"].as_array().context("an inbox without messages")?;
    ensure!(messages.len() < 10_000, "more than one page");
    let entry = |message: &Value| Some((text(message, "messageId"), message["receivedAt"].as_f64()?));
    messages.iter().map(|message| entry(message).context("an odd message")).collect()
}

/// Milliseconds since 1970, with fractions.
#[expect(clippy::disallowed_methods, reason = "the phone's clock is the wall clock")]
fn wall_ms() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64() * 1000.0
}
