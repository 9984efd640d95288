//! New sessions: who may make one, and what tells of it.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::accept::Buffers;
use super::outbox::NewCommand;
use super::sessions::Counters;
use super::{Batch, Item};
use crate::domain::command::CommandType;
use crate::domain::error::{Error, Result};
use crate::domain::event::EventType;
use crate::domain::ids::TenantId;
use crate::domain::write::CreateSession;

/// What the tenants have already.
#[derive(Default)]
pub(crate) struct Standing {
    /// How many live sessions.
    pub(crate) live: HashMap<TenantId, i64>,
    /// Names of live sessions, of those that are asked for.
    pub(crate) named: HashSet<(TenantId, String)>,
}

/// Makes sessions; those that are new are to be inserted.
pub(crate) fn sessions<'w>(
    batch: &mut Batch,
    items: &[Item<'w, CreateSession>],
    mut standing: Standing,
    starts: &mut Buffers,
) -> Result<Vec<&'w CreateSession>> {
    let mut made = Vec::new();
    for &(place, create) in items {
        let used = create.idempotency.as_ref();
        let answer = match batch.stored.replay(create.tenant, used) {
            Some(earlier) => earlier,
            None => match judge(batch, create, &mut standing) {
                Ok(()) => {
                    made.push(create);
                    make(batch, create, starts)?;
                    batch.note(create.audit.as_deref());
                    Ok(batch.stored.keep(create.tenant, used, &create.response, create.at))
                }
                Err(refusal) => Err(refusal),
            },
        };
        batch.answer(place, answer);
    }
    Ok(made)
}

/// Whether the session may be made; counts it if so.
fn judge(batch: &Batch, create: &CreateSession, standing: &mut Standing) -> Result<()> {
    if batch.sessions.get(create.session).is_some() {
        return Err(Error::conflict("session_exists", "there is a session with this id"));
    }
    let name = create.name.as_ref().map(|name| (create.tenant, name.clone()));
    if name.as_ref().is_some_and(|name| standing.named.contains(name)) {
        let mut refusal = Error::conflict("session_name_taken", "another session has this name");
        refusal.field = Some("name".to_owned());
        return Err(refusal);
    }
    let count = standing.live.entry(create.tenant).or_default();
    if *count >= create.limit {
        return Err(Error::busy("session_limit", "no more sessions can be made"));
    }
    *count += 1;
    standing.named.extend(name);
    Ok(())
}

fn make(batch: &mut Batch, create: &CreateSession, starts: &mut Buffers) -> Result<()> {
    let (id, at) = (create.session, create.at);
    let counters = Counters {
        tenant: create.tenant,
        shard: create.shard,
        next_event: 1,
        next_command: 1,
        queued: 0,
        deleted: false,
        changed: true,
    };
    batch.sessions.know(id, counters);
    let data = json!({"sessionId": id, "name": create.name, "endpoint": create.endpoint});
    batch.emit(id, EventType::SessionCreated, at, &data)?;
    if let Some(command) = create.start {
        let start = NewCommand { id: command, kind: CommandType::Start, message: None, at };
        starts.command(batch, id, start, None)?;
    }
    Ok(())
}
