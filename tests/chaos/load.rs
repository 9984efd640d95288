//! Clients that send through the API and repeat a request under its key until it is answered.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use crate::rig::api::{Api, text};
use crate::rig::chance::Chance;
use crate::rig::world::Account;

/// How long one request is repeated.
const ANSWERED: Duration = Duration::from_secs(180);

/// One in so many accepted requests is asked again on purpose.
const AGAIN: usize = 16;

/// One accepted send.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) message: String,
    pub(crate) wa_id: String,
    /// The recipient's number.
    pub(crate) to: String,
}

/// What all clients share.
#[derive(Default)]
pub(crate) struct Ledger {
    accepted: Mutex<Vec<Accepted>>,
    pub(crate) stop: AtomicBool,
    /// Requests that had to be repeated because no answer came.
    pub(crate) repeated: AtomicU64,
    /// The same key, another answer.
    pub(crate) contradicted: AtomicU64,
}

impl Ledger {
    pub(crate) fn accepted(&self) -> Vec<Accepted> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, accepted: Accepted) {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).push(accepted);
    }
}

/// One client: sends between random accounts at its pace until told to stop.
pub(crate) async fn client(
    name: String,
    mut api: Api,
    accounts: Arc<[Account]>,
    (ledger, mut chance, pace): (Arc<Ledger>, Chance, Duration),
) -> Result<()> {
    let mut due = Instant::now();
    let mut number = 0_u64;
    while !ledger.stop.load(Ordering::Relaxed) {
        number += 1;
        let from = chance.below(accounts.len());
        let to = (from + 1 + chance.below(accounts.len() - 1)) % accounts.len();
        let order = Order {
            path: format!("/sessions/{}/messages", accounts[from].session),
            key: format!("{name}-{number}"),
            body: json!({"to": accounts[to].phone, "content": {"type": "text", "text": format!("{name} {number}")}}).to_string(),
        };
        let answer = order.until_answered(&mut api, &ledger).await?;
        let accepted = Accepted {
            message: text(&answer, "messageId"),
            wa_id: text(&answer, "waMessageId"),
            to: accounts[to].phone.clone(),
        };
        if chance.below(AGAIN) == 0 {
            let again = order.until_answered(&mut api, &ledger).await?;
            if again != answer {
                ledger.contradicted.fetch_add(1, Ordering::Relaxed);
            }
        }
        ledger.add(accepted);
        // A client that was held up does not make up for it: the pace is a limit.
        due = (due + pace).max(Instant::now());
        sleep_until(due).await;
    }
    Ok(())
}

struct Order {
    path: String,
    key: String,
    body: String,
}

impl Order {
    async fn until_answered(&self, api: &mut Api, ledger: &Ledger) -> Result<Value> {
        let until = Instant::now() + ANSWERED;
        let mut last = String::new();
        while Instant::now() < until {
            match api.call("POST", &self.path, Some(&self.key), &self.body).await {
                Ok((202, answer)) => return Ok(answer),
                Ok((status @ (429 | 500..=599), answer)) => last = format!("{status} {answer}"),
                Ok((status, answer)) => bail!("a send was refused: {status} {answer}"),
                Err(gone) => last = gone.to_string(),
            }
            ledger.repeated.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(25)).await;
        }
        bail!("a send was not answered within {ANSWERED:?}: {last}")
    }
}
