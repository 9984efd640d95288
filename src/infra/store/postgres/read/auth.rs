//! Stored credentials, as ciphertext: point lookups, hot.

use sqlx::postgres::PgConnection;

use crate::domain::error::Result;
use crate::domain::ids::SessionId;
use crate::infra::store::columns::Columns;
use crate::infra::store::postgres::sql::{Cells, row, rows};
use crate::infra::store::views;

const CREDS: &str = "select value from session_auth_creds where session_id = $1";
const ONE: &str =
    "select value, stamp from session_auth_keys where session_id = $1 and kind = $2 and key = $3";
const MANY: &str = "select key, value, stamp from session_auth_keys \
    where session_id = $1 and kind = $2 and key = any($3)";
const PREFIX: &str = "select key, value, stamp from session_auth_keys \
    where session_id = $1 and kind = $2 and key >= $3 and key < $3 || chr(1114111) order by key";

/// The device itself.
pub(in crate::infra::store::postgres) async fn creds(
    conn: &mut PgConnection,
    session: SessionId,
) -> Result<Option<Vec<u8>>> {
    let found = row(conn, CREDS, Cells::new().id(session.0)).await?;
    found.map(|row| Ok(row.blob(0)?.to_vec())).transpose()
}

/// One value and its stamp.
pub(in crate::infra::store::postgres) async fn one(
    conn: &mut PgConnection,
    session: SessionId,
    kind: &str,
    key: &str,
) -> Result<Option<(Vec<u8>, i64)>> {
    let found = row(conn, ONE, Cells::new().id(session.0).text(kind).text(key)).await?;
    found.map(|row| Ok((row.blob(0)?.to_vec(), row.int(1)?))).transpose()
}

/// Several values of a family.
pub(in crate::infra::store::postgres) async fn many(
    conn: &mut PgConnection,
    session: SessionId,
    kind: &str,
    keys: &[String],
) -> Result<Vec<(String, Vec<u8>, i64)>> {
    let found =
        rows(conn, MANY, Cells::new().id(session.0).text(kind).texts(keys.iter().map(String::as_str)))
            .await?;
    found.iter().map(views::credential).collect()
}

/// All values of a family whose name starts with `start`.
pub(in crate::infra::store::postgres) async fn prefix(
    conn: &mut PgConnection,
    session: SessionId,
    kind: &str,
    start: &str,
) -> Result<Vec<(String, Vec<u8>, i64)>> {
    let found = rows(conn, PREFIX, Cells::new().id(session.0).text(kind).text(start)).await?;
    found.iter().map(views::credential).collect()
}
