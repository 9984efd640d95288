//! Whether a login tells by its time who has an account: an unknown address against a wrong password, by turns, on a
//! service with the real cost of a password. The medians must be within a tenth of each other.

mod rig;

use anyhow::{Result, ensure};
use rig::api::Api;
use rig::figures::{Samples, last_line, round, say};
use rig::setting;
use rig::world::{Service, folder};
use serde_json::json;
use tokio::time::Instant;

/// The most that the medians may differ.
const MOST: f64 = 0.1;

fn main() -> Result<()> {
    rig::bench("login", measure())
}

async fn measure() -> Result<()> {
    let folder = folder()?;
    let tries = setting("LOGIN_TRIES", 200);
    // All of them are to be answered, and not only the first sixty.
    let service = Service::start(folder.path(), &[("RECADO_LIMIT_AUTH_FAILURES", "off")]).await?;
    let mut api = Api::new(service.addr(), None);
    let account = json!({"email": "ana@example.org", "password": "una-frase-larga-7"});
    api.post("/auth/register", &account).await?;
    let (mut unknown, mut wrong) = (Samples::default(), Samples::default());
    say(&format!("{tries} logins of each kind, by turns…"));
    for turn in 0..tries {
        for (mail, samples) in [("nobody@example.org", &mut unknown), ("ana@example.org", &mut wrong)] {
            let body = json!({"email": mail, "password": format!("not-the-password-{turn}")}).to_string();
            let started = Instant::now();
            let (status, answer) = api.call("POST", "/auth/login", None, &body).await?;
            let took = started.elapsed().as_secs_f64() * 1000.0;
            ensure!(status == 401 && answer["code"] == "wrong_credentials", "{status} {answer}");
            samples.add(took);
        }
    }
    let (of_unknown, of_wrong) = (unknown.percentile(0.5), wrong.percentile(0.5));
    let differ = (of_unknown - of_wrong).abs() / of_wrong;
    say(&format!("  unknown address   median {of_unknown:.2} ms, p99 {:.2} ms", unknown.percentile(0.99)));
    say(&format!("  wrong password    median {of_wrong:.2} ms, p99 {:.2} ms", wrong.percentile(0.99)));
    last_line(
        "login",
        &json!({
            "tries": tries, "unknownP50Ms": of_unknown, "wrongP50Ms": of_wrong,
            "ratio": round(of_unknown / of_wrong), "differ": round(differ),
        }),
    );
    ensure!(differ < MOST, "the medians differ by {:.1} %", differ * 100.0);
    Ok(())
}
