//! New API keys and new sessions.

use std::collections::HashMap;

use serde_json::json;

use super::outbox::NewCommand;
use super::sessions::Counters;
use super::{Item, Tx, accept};
use crate::domain::command::CommandType;
use crate::domain::error::{Error, Result};
use crate::domain::event::EventType;
use crate::domain::ids::TenantId;
use crate::domain::session::SessionState;
use crate::domain::time::Timestamp;
use crate::domain::write::{AddKey, CreateSession, Outcome};
use crate::infra::store::sqlite::sql::Columns;
use crate::infra::store::sqlite::statement::{execute, row};

const TENANT: &str = "insert into tenants (id, created_at) values (?, ?) on conflict do nothing";
const KEY: &str = "insert into api_keys (id, tenant_id, hash, name, created_at) values (?, ?, ?, ?, ?) on conflict do nothing";
const LIVE: &str = "select count(*) from sessions where tenant_id = ? and deleted_at is null";
const NAMED: &str =
    "select 1 from sessions where tenant_id = ? and name = ? and name is not null and deleted_at is null";
const SESSION: &str = "insert into sessions (id, tenant_id, shard, name, state, reason, endpoint, next_event_seq, \
    next_command_seq, queued, created_at, updated_at) values (?, ?, ?, ?, ?, 'created', ?, 1, 1, 0, ?8, ?8)";

/// Stores API keys.
pub(super) fn keys(tx: &mut Tx<'_>, items: &[Item<'_, AddKey>]) -> Result<()> {
    for &(place, key) in items {
        tenant(tx, key.tenant, key.at)?;
        let added = execute(tx.conn, KEY, |cells| {
            cells.id(key.id.0).id(key.tenant.0).blob(&key.hash).text(&key.name).int(key.at.0);
        })?;
        let taken = || Err(Error::conflict("key_exists", "this API key is stored already"));
        tx.answer(place, if added == 1 { Ok(Outcome::Done) } else { taken() });
    }
    Ok(())
}

fn tenant(tx: &mut Tx<'_>, tenant: TenantId, at: Timestamp) -> Result<()> {
    execute(tx.conn, TENANT, |cells| {
        cells.id(tenant.0).int(at.0);
    })
    .map(drop)
}

/// Makes sessions.
pub(super) fn sessions(tx: &mut Tx<'_>, items: &[Item<'_, CreateSession>]) -> Result<()> {
    let mut live = HashMap::new();
    let mut starts = accept::Buffers::default();
    for &(place, create) in items {
        if let Some(earlier) = tx.stored.replay(create.tenant, create.idempotency.as_ref()) {
            tx.answer(place, earlier);
            continue;
        }
        let judged = judge(tx, create, &mut live)?;
        let answer = match judged {
            Ok(()) => {
                insert(tx, create, &mut starts)?;
                Ok(tx.stored.keep(create.tenant, create.idempotency.as_ref(), &create.response, create.at))
            }
            Err(refusal) => Err(refusal),
        };
        tx.answer(place, answer);
    }
    starts.flush(tx.conn)
}

/// Whether the session may be made; counts it if so. The outer `Err` is the database's.
fn judge(tx: &mut Tx<'_>, create: &CreateSession, live: &mut HashMap<TenantId, i64>) -> Result<Result<()>> {
    let tenant = create.tenant;
    #[allow(clippy::map_entry, reason = "the count is awaited between look and insert")]
    if !live.contains_key(&tenant) {
        let counted = row(tx.conn, LIVE, |cells| {
            cells.id(tenant.0);
        })?;
        live.insert(tenant, counted.map_or(Ok(0), |row| row.int(0))?);
    }
    if tx.sessions.get(create.session).is_some() {
        return Ok(Err(Error::conflict("session_exists", "there is a session with this id")));
    }
    if let Some(name) = &create.name {
        let named = row(tx.conn, NAMED, |cells| {
            cells.id(tenant.0).text(name);
        })?;
        if named.is_some() {
            let mut refusal = Error::conflict("session_name_taken", "another session has this name");
            refusal.field = Some("name".to_owned());
            return Ok(Err(refusal));
        }
    }
    let count = live.entry(tenant).or_default();
    if *count >= create.limit {
        return Ok(Err(Error::busy("session_limit", "no more sessions can be made")));
    }
    *count += 1;
    Ok(Ok(()))
}

fn insert(tx: &mut Tx<'_>, create: &CreateSession, starts: &mut accept::Buffers) -> Result<()> {
    let (id, at) = (create.session, create.at);
    tenant(tx, create.tenant, at)?;
    let endpoint = serde_json::to_string(&create.endpoint).map_err(Error::bug)?;
    execute(tx.conn, SESSION, |cells| {
        cells.id(id.0).id(create.tenant.0).int(i64::from(create.shard.0)).opt_text(create.name.as_deref());
        cells.text(SessionState::Created.as_str()).text(&endpoint).int(at.0).int(at.0);
    })?;
    let counters = Counters {
        tenant: create.tenant,
        shard: create.shard,
        next_event: 1,
        next_command: 1,
        queued: 0,
        deleted: false,
        changed: true,
    };
    tx.sessions.created(id, counters);
    let data = json!({"sessionId": id, "name": create.name, "endpoint": create.endpoint});
    tx.emit(id, EventType::SessionCreated, at, &data)?;
    if let Some(command) = create.start {
        let start = NewCommand { id: command, kind: CommandType::Start, message: None, at };
        starts.command(tx, id, start, None)?;
    }
    Ok(())
}
