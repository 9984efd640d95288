//! Stored credentials, as ciphertext: point lookups, hot.

use sqlx::sqlite::SqlitePool;

use crate::domain::error::Result;
use crate::domain::ids::SessionId;
use crate::infra::store::columns::Columns;
use crate::infra::store::sqlite::sql::{row, rows};
use crate::infra::store::views;

const CREDS: &str = "select value from session_auth_creds where session_id = ?";
const ONE: &str = "select value, stamp from session_auth_keys where session_id = ? and kind = ? and key = ?";
const MANY: &str = "select key, value, stamp from session_auth_keys \
    where session_id = ? and kind = ? and key in (select value from json_each(?))";
const PREFIX: &str = "select key, value, stamp from session_auth_keys \
    where session_id = ?1 and kind = ?2 and key >= ?3 and key < ?3 || char(1114111) order by key";

/// The device itself.
pub(in crate::infra::store::sqlite) async fn creds(
    pool: &SqlitePool,
    session: SessionId,
) -> Result<Option<Vec<u8>>> {
    let found = row(pool, CREDS, |cells| {
        cells.id(session.0);
    })
    .await?;
    found.map(|row| Ok(row.blob(0)?.to_vec())).transpose()
}

/// One value and its stamp.
pub(in crate::infra::store::sqlite) async fn one(
    pool: &SqlitePool,
    session: SessionId,
    kind: &str,
    key: &str,
) -> Result<Option<(Vec<u8>, i64)>> {
    let found = row(pool, ONE, |cells| {
        cells.id(session.0).text(kind).text(key);
    })
    .await?;
    found.map(|row| Ok((row.blob(0)?.to_vec(), row.int(1)?))).transpose()
}

/// Several values of a family.
pub(in crate::infra::store::sqlite) async fn many(
    pool: &SqlitePool,
    session: SessionId,
    kind: &str,
    keys: &[String],
) -> Result<Vec<(String, Vec<u8>, i64)>> {
    let names = serde_json::json!(keys).to_string();
    let found = rows(pool, MANY, |cells| {
        cells.id(session.0).text(kind).text(&names);
    })
    .await?;
    found.iter().map(views::credential).collect()
}

/// All values of a family whose name starts with `start`.
pub(in crate::infra::store::sqlite) async fn prefix(
    pool: &SqlitePool,
    session: SessionId,
    kind: &str,
    start: &str,
) -> Result<Vec<(String, Vec<u8>, i64)>> {
    let found = rows(pool, PREFIX, |cells| {
        cells.id(session.0).text(kind).text(start);
    })
    .await?;
    found.iter().map(views::credential).collect()
}
