//! New sessions as rows.

use std::collections::hash_map::Entry;

use super::{Tx, accept, tenants};
use crate::domain::error::{Error, Result};
use crate::domain::session::SessionState;
use crate::domain::write::CreateSession;
use crate::infra::store::batch::Item;
use crate::infra::store::batch::accept::Buffers;
use crate::infra::store::batch::create::{self, Standing};
use crate::infra::store::columns::Columns;
use crate::infra::store::sqlite::statement::{execute, row};

const LIVE: &str = "select count(*) from sessions where tenant_id = ? and deleted_at is null";
const NAMED: &str =
    "select 1 from sessions where tenant_id = ? and name = ? and name is not null and deleted_at is null";
const SESSION: &str = "insert into sessions (id, tenant_id, shard, name, state, reason, endpoint, next_event_seq, \
    next_command_seq, queued, created_at, updated_at) values (?, ?, ?, ?, ?, 'created', ?, 1, 1, 0, ?8, ?8)";

/// Makes sessions.
pub(super) fn sessions(tx: &mut Tx<'_>, items: &[Item<'_, CreateSession>]) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let standing = standing(tx, items)?;
    let mut starts = Buffers::default();
    for create in create::sessions(&mut tx.batch, items, standing, &mut starts)? {
        insert(tx, create)?;
    }
    accept::flush(tx.conn, &starts)
}

fn standing(tx: &Tx<'_>, items: &[Item<'_, CreateSession>]) -> Result<Standing> {
    let mut standing = Standing::default();
    for (_, create) in items {
        let tenant = create.tenant;
        if let Entry::Vacant(place) = standing.live.entry(tenant) {
            let counted = row(tx.conn, LIVE, |cells| {
                cells.id(tenant.0);
            })?;
            place.insert(counted.map_or(Ok(0), |row| row.int(0))?);
        }
        let Some(name) = &create.name else { continue };
        let named = row(tx.conn, NAMED, |cells| {
            cells.id(tenant.0).text(name);
        })?;
        if named.is_some() {
            standing.named.insert((tenant, name.clone()));
        }
    }
    Ok(standing)
}

fn insert(tx: &mut Tx<'_>, create: &CreateSession) -> Result<()> {
    let (id, at) = (create.session, create.at);
    tenants::make(tx, create.tenant, None, at)?;
    let endpoint = serde_json::to_string(&create.endpoint).map_err(Error::bug)?;
    execute(tx.conn, SESSION, |cells| {
        cells.id(id.0).id(create.tenant.0).int(i64::from(create.shard.0)).opt_text(create.name.as_deref());
        cells.text(SessionState::Created.as_str()).text(&endpoint).int(at.0).int(at.0);
    })
    .map(drop)
}
