//! A session's credentials as rows.

use rusqlite::Connection;

use super::Tx;
use crate::domain::error::Result;
use crate::domain::write::AuthWrite;
use crate::infra::store::batch::Item;
use crate::infra::store::batch::auth::{self, Step, Values};
use crate::infra::store::sqlite::statement::{each, execute};

const PUT: &str = "insert into session_auth_keys (session_id, kind, key, tenant_id, value, stamp) \
    values (?, ?, ?, ?, ?, ?) on conflict (session_id, kind, key) \
    do update set value = excluded.value, stamp = excluded.stamp";
pub(super) const UPDATE: &str =
    "update session_auth_keys set value = ?4, stamp = ?5 where session_id = ?1 and kind = ?2 and key = ?3";
pub(super) const DELETE: &str = "delete from session_auth_keys where session_id = ? and kind = ? and key = ?";
const PUT_CREDS: &str = "insert into session_auth_creds (session_id, tenant_id, value) values (?, ?, ?) \
    on conflict (session_id) do update set value = excluded.value";

pub(super) const WIPE_CREDS: &str = "delete from session_auth_creds where session_id = ?";
pub(super) const WIPE_KEYS: &str = "delete from session_auth_keys where session_id = ?";
const DELETE_PREFIX: &str = "delete from session_auth_keys where session_id = ?1 and kind = ?2 and key >= ?3 \
    and key < ?3 || char(1114111)";
const DELETE_STAMPED: &str =
    "delete from session_auth_keys where session_id = ? and kind = ? and stamp > 0 and stamp < ?";

/// Stores credentials.
pub(super) fn auth(tx: &mut Tx<'_>, items: &[Item<'_, AuthWrite>]) -> Result<()> {
    let conn = tx.conn;
    for step in auth::steps(&mut tx.batch, items) {
        match step {
            Step::Values(changes) => values(conn, &changes)?,
            Step::Wipe(session) => {
                for statement in [WIPE_CREDS, WIPE_KEYS] {
                    execute(conn, statement, |cells| {
                        cells.id(session);
                    })?;
                }
            }
            Step::DeletePrefix((session, kind, prefix)) => {
                execute(conn, DELETE_PREFIX, |cells| {
                    cells.id(session).text(kind).text(prefix);
                })?;
            }
            Step::DeleteStamped(session, kind, before) => {
                execute(conn, DELETE_STAMPED, |cells| {
                    cells.id(session).text(kind).int(before);
                })?;
            }
        }
    }
    Ok(())
}

fn values(conn: &Connection, changes: &Values<'_>) -> Result<()> {
    each(conn, PUT_CREDS, &changes.creds, |(session, tenant, value), cells| {
        cells.id(*session).id(*tenant).blob(value);
    })?;
    each(conn, PUT, &changes.puts, |((session, kind, key), tenant, value, stamp), cells| {
        cells.id(*session).text(kind).text(key).id(*tenant).blob(value).int(*stamp);
    })?;
    each(conn, UPDATE, &changes.updates, |((session, kind, key), value, stamp), cells| {
        cells.id(*session).text(kind).text(key).blob(value).int(*stamp);
    })?;
    each(conn, DELETE, &changes.deletes, |(session, kind, key), cells| {
        cells.id(*session).text(kind).text(key);
    })
    .map(drop)
}
