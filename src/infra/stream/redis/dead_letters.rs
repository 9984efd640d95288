//! Copies of dead letters, for programs that watch a stream. The truth is in the table.
//!
//! Promises: bounded: the oldest copies go first. A copy may be missing, or there twice.

use super::RedisStream;
use crate::domain::error::{Error, Result};
use crate::domain::event::Log;
use crate::infra::stream::Burial;

/// The longest reason that is shown.
const REASON: usize = 2048;

pub(super) async fn copy(stream: &RedisStream, log: Log, burial: Burial<'_>) -> Result<()> {
    let Burial { group, entry, attempts, error, at } = burial;
    let event = &entry.event;
    let mut command = redis::cmd("XADD");
    command.arg(stream.settings.dead_letters());
    command.arg("MAXLEN").arg("~").arg(stream.settings.refused).arg("*");
    let fields = [
        ("eventId", event.event_id.to_string()),
        ("type", event.kind.clone()),
        ("tenantId", event.tenant_id.to_string()),
        ("sessionId", event.session_id.map(|session| session.to_string()).unwrap_or_default()),
        ("occurredAt", event.occurred_at.to_string()),
        ("log", log.to_string()),
        ("position", entry.position.to_string()),
        ("group", group.to_owned()),
        ("attempts", attempts.to_string()),
        ("error", cut(error).to_owned()),
        ("failedAt", at.to_string()),
        ("payload", serde_json::to_string(&**event).map_err(Error::bug)?),
    ];
    for (name, value) in fields {
        command.arg(name).arg(value);
    }
    stream.command(&command).await.map(drop)
}

/// A reason of bounded length, cut between characters.
pub(super) fn cut(text: &str) -> &str {
    let end = (0..=REASON.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or_default();
    &text[..end]
}
