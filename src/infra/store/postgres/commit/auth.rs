//! A session's credentials as rows.

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::Tx;
use crate::domain::error::Result;
use crate::domain::write::AuthWrite;
use crate::infra::store::batch::Item;
use crate::infra::store::batch::auth::{self, Name, Step, Values};
use crate::infra::store::postgres::sql::{Cells, execute};

const PUT_CREDS: &str = "insert into session_auth_creds (session_id, tenant_id, value) \
    select * from unnest($1::uuid[], $2::uuid[], $3::bytea[]) on conflict (session_id) do update set value = excluded.value";
const PUT: &str = "insert into session_auth_keys (session_id, kind, key, tenant_id, value, stamp) \
    select * from unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bytea[], $6::bigint[]) \
    on conflict (session_id, kind, key) do update set value = excluded.value, stamp = excluded.stamp";
const UPDATE: &str = "update session_auth_keys k set value = v.value, stamp = v.stamp \
    from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::bigint[]) v(session_id, kind, key, value, stamp) \
    where k.session_id = v.session_id and k.kind = v.kind and k.key = v.key";
const DELETE: &str = "delete from session_auth_keys k using unnest($1::uuid[], $2::text[], $3::text[]) \
    v(session_id, kind, key) where k.session_id = v.session_id and k.kind = v.kind and k.key = v.key";
const WIPE_CREDS: &str = "delete from session_auth_creds where session_id = $1";
const WIPE_KEYS: &str = "delete from session_auth_keys where session_id = $1";
const DELETE_PREFIX: &str = "delete from session_auth_keys where session_id = $1 and kind = $2 and key >= $3 \
    and key < $3 || chr(1114111)";
const DELETE_STAMPED: &str =
    "delete from session_auth_keys where session_id = $1 and kind = $2 and stamp > 0 and stamp < $3";

/// Stores credentials.
pub(super) async fn auth(tx: &mut Tx<'_>, items: &[Item<'_, AuthWrite>]) -> Result<()> {
    for step in auth::steps(&mut tx.batch, items) {
        match step {
            Step::Values(changes) => values(tx.conn, &changes).await?,
            Step::Wipe(session) => wipe(tx.conn, session).await?,
            Step::DeletePrefix((session, kind, prefix)) => {
                let cells = Cells::new().id(session).text(kind).text(prefix);
                execute(tx.conn, DELETE_PREFIX, cells).await?;
            }
            Step::DeleteStamped(session, kind, before) => {
                let cells = Cells::new().id(session).text(kind).int(before);
                execute(tx.conn, DELETE_STAMPED, cells).await?;
            }
        }
    }
    Ok(())
}

/// Everything of a session goes.
pub(super) async fn wipe(conn: &mut PgConnection, session: Uuid) -> Result<()> {
    for sql in [WIPE_CREDS, WIPE_KEYS] {
        execute(conn, sql, Cells::new().id(session)).await?;
    }
    Ok(())
}

fn named<'n>(names: impl Iterator<Item = &'n Name<'n>> + Clone) -> Cells {
    Cells::new()
        .ids(names.clone().map(|(session, _, _)| *session))
        .texts(names.clone().map(|(_, kind, _)| *kind))
        .texts(names.map(|(_, _, key)| *key))
}

async fn values(conn: &mut PgConnection, changes: &Values<'_>) -> Result<()> {
    let Values { creds, puts, updates, deletes } = changes;
    if !creds.is_empty() {
        let cells = Cells::new()
            .ids(creds.iter().map(|(session, _, _)| *session))
            .ids(creds.iter().map(|(_, tenant, _)| *tenant))
            .blobs(creds.iter().map(|(_, _, value)| *value));
        execute(conn, PUT_CREDS, cells).await?;
    }
    if !puts.is_empty() {
        let cells = named(puts.iter().map(|(name, _, _, _)| name))
            .ids(puts.iter().map(|(_, tenant, _, _)| *tenant))
            .blobs(puts.iter().map(|(_, _, value, _)| *value))
            .ints(puts.iter().map(|(_, _, _, stamp)| *stamp));
        execute(conn, PUT, cells).await?;
    }
    if !updates.is_empty() {
        let cells = named(updates.iter().map(|(name, _, _)| name))
            .blobs(updates.iter().map(|(_, value, _)| *value))
            .ints(updates.iter().map(|(_, _, stamp)| *stamp));
        execute(conn, UPDATE, cells).await?;
    }
    if !deletes.is_empty() {
        execute(conn, DELETE, named(deletes.iter())).await?;
    }
    Ok(())
}
