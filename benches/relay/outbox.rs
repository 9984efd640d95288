//! Rows to carry: messages accepted through the store, and their numbered events read back.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use recado::domain::command::CommandType;
use recado::domain::content::Content;
use recado::domain::event::Log;
use recado::domain::ids::{CommandId, Fence, MessageId, Position, SessionId, Shard, TenantId, WaId};
use recado::domain::session::Endpoint;
use recado::domain::time::now;
use recado::domain::write::{Accept, CreateSession, NewMessage, Outcome, TakeLease, Write};
use recado::infra::store::Store;
use serde_json::json;

/// The one shard.
pub(crate) const SHARD: Shard = Shard(0);

/// Sessions that the events belong to.
const SESSIONS: usize = 100;

/// Writes of one transaction while filling, and rows of one transaction of the yardstick.
pub(crate) const BATCH: usize = 512;

/// Takes the shard.
pub(crate) async fn own(store: &dyn Store) -> Result<Fence> {
    let take = TakeLease {
        shard: SHARD,
        node: "bench".into(),
        address: String::new(),
        held: None,
        at: now(),
        ttl: Duration::from_secs(3600),
    };
    match one(store, Write::TakeLease(take)).await? {
        Outcome::Lease(Some(epoch)) => Ok(Fence { shard: SHARD, epoch }),
        other => bail!("no lease: {other:?}"),
    }
}

async fn one(store: &dyn Store, write: Write) -> Result<Outcome> {
    let mut answers = store.commit([write].into()).await?;
    Ok(answers.pop().context("no answer")??)
}

/// Sessions for messages to go through.
pub(crate) async fn sessions(store: &dyn Store) -> Result<Vec<SessionId>> {
    let mut sessions = Vec::new();
    for n in 0..SESSIONS {
        let session = SessionId::new();
        one(store, Write::CreateSession(create(session, n)?)).await?;
        sessions.push(session);
    }
    Ok(sessions)
}

/// Accepts messages until so many rows wait to be numbered; how many do.
pub(crate) async fn fill(store: &dyn Store, sessions: &[SessionId], wanted: i64) -> Result<i64> {
    let mut numbers = sessions.iter().cycle();
    for _round in 0..wanted {
        let waiting = unnumbered(store).await?;
        if waiting >= wanted {
            return Ok(waiting);
        }
        let batch = BATCH.min(usize::try_from((wanted - waiting + 1) / 2)?);
        let writes: Vec<Write> =
            numbers.by_ref().take(batch).map(|session| accept(*session)).collect::<Result<_>>()?;
        for answer in store.commit(writes.into()).await? {
            answer?;
        }
    }
    bail!("the outbox did not fill")
}

async fn unnumbered(store: &dyn Store) -> Result<i64> {
    let mut waiting = 0;
    for log in Log::ALL {
        waiting += store.head(SHARD, log).await?.unstamped;
    }
    Ok(waiting)
}

fn create(session: SessionId, n: usize) -> Result<CreateSession> {
    let endpoint: Endpoint = serde_json::from_value(
        json!({"kind": "sandbox", "url": "ws://127.0.0.1:9/ws/chat", "staticKey": "07".repeat(32)}),
    )?;
    Ok(CreateSession {
        tenant: TenantId::DEFAULT,
        session,
        shard: SHARD,
        name: Some(format!("relay-{n}")),
        endpoint,
        start: None,
        response: json!({}),
        idempotency: None,
        at: now(),
        limit: 1_000_000,
        audit: None,
    })
}

/// One message to send.
pub(crate) fn accept(session: SessionId) -> Result<Write> {
    let id = MessageId::new();
    let content = Content::Text { text: "A message of the usual length, about so.".into(), reply_to: None };
    let message = NewMessage {
        id,
        wa_id: WaId::of(id),
        to: "15550100199".parse()?,
        content,
        deadline: now().after(Duration::from_secs(3600)),
    };
    Ok(Write::Accept(Accept {
        tenant: TenantId::DEFAULT,
        session,
        shard: SHARD,
        command: CommandId::new(),
        kind: CommandType::SendMessage,
        message: Some(message),
        response: json!({"messageId": id}),
        idempotency: None,
        at: now(),
        queue_limit: 1_000_000,
        audit: None,
    }))
}

/// The numbered rows as JSON.
pub(crate) async fn bodies(store: &dyn Store) -> Result<Vec<String>> {
    let mut bodies = Vec::new();
    for log in Log::ALL {
        let mut after = Position(0);
        loop {
            let rows = store.log_after(SHARD, log, after, 1000).await?;
            let Some(last) = rows.last() else { break };
            after = last.position;
            for row in &rows {
                bodies.push(serde_json::to_string(&*row.event)?);
            }
        }
    }
    Ok(bodies)
}
