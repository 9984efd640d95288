//! Strangers who write to our accounts, hundreds of messages a second together.
//!
//! A stranger is a virtual phone without a companion: what it sends is inbound for us and nothing else.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::rig::world::{Account, Sandbox, Service, link_all};

/// Makes strangers: phones that are linked once and unlinked again.
pub(crate) async fn strangers(service: &Service, sandbox: &Sandbox, count: usize) -> Result<Vec<String>> {
    let linked = link_all(service, sandbox, (0..count).map(|n| format!("stranger-{n}"))).await?;
    let (mut admin, mut api) = (sandbox.api(), service.api());
    for one in &linked {
        let unlink = format!("/admin/accounts/{}/unlink", one.phone);
        admin.post(&unlink, &json!({"device": one.device})).await?;
        until_logged_out(service, &one.session).await?;
        api.delete(&format!("/sessions/{}", one.session)).await?;
    }
    Ok(linked.into_iter().map(|account| account.phone).collect())
}

async fn until_logged_out(service: &Service, session: &str) -> Result<()> {
    let mut api = service.api();
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let view = api.get(&format!("/sessions/{session}")).await?;
        if view["state"] == "logged_out" {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < until, "an unlinked session is not logged out: {view}");
        sleep(Duration::from_millis(25)).await;
    }
}

/// One stranger's part of a burst: so many messages to one account at a pace; ids by recipient.
pub(crate) async fn burst(
    sandbox_api: crate::rig::api::Api,
    stranger: String,
    to: Account,
    (count, per_second): (u64, u64),
) -> Result<(String, Vec<String>)> {
    let mut admin = sandbox_api;
    let order = json!({"to": to.phone, "text": "burst", "count": count, "perSecond": per_second});
    let sent = admin.post(&format!("/admin/accounts/{stranger}/send"), &order).await?;
    let ids = sent["ids"].as_array().context("no ids of a burst")?;
    let ids = ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect();
    Ok((to.session, ids))
}

/// What strangers sent so far, by session.
pub(crate) type Inbound = HashMap<String, Vec<String>>;
