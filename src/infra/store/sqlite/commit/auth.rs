//! A session's credentials: many small changes, folded to one per key before anything is written.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::{Item, Tx};
use crate::domain::error::Result;
use crate::domain::write::{AuthOp, AuthWrite, Outcome};
use crate::infra::store::sqlite::sql::{Bulk, execute};

static PUT: Bulk = Bulk::new(
    "insert into session_auth_keys (session_id, kind, key, tenant_id, value, stamp) values ",
    6,
    " on conflict (session_id, kind, key) do update set value = excluded.value, stamp = excluded.stamp",
);
pub(super) static UPDATE: Bulk = Bulk::new(
    "update session_auth_keys set value = v.column4, stamp = v.column5 from (values ",
    5,
    ") v where session_auth_keys.session_id = v.column1 and session_auth_keys.kind = v.column2 \
     and session_auth_keys.key = v.column3",
);
// Through a subselect: given the values themselves, SQLite would scan the table.
pub(super) static DELETE: Bulk = Bulk::new(
    "delete from session_auth_keys where (session_id, kind, key) in (select column1, column2, column3 from (values ",
    3,
    "))",
);
static PUT_CREDS: Bulk = Bulk::new(
    "insert into session_auth_creds (session_id, tenant_id, value) values ",
    3,
    " on conflict (session_id) do update set value = excluded.value",
);

pub(super) const WIPE_CREDS: &str = "delete from session_auth_creds where session_id = ?";
pub(super) const WIPE_KEYS: &str = "delete from session_auth_keys where session_id = ?";
const DELETE_PREFIX: &str = "delete from session_auth_keys where session_id = ?1 and kind = ?2 and key >= ?3 \
    and key < ?3 || char(1114111)";
const DELETE_STAMPED: &str =
    "delete from session_auth_keys where session_id = ? and kind = ? and stamp > 0 and stamp < ?";

type Name<'w> = (Uuid, &'static str, &'w str);

/// What a key's changes amount to.
enum Folded<'w> {
    Put { tenant: Uuid, value: &'w [u8], stamp: i64 },
    Update { value: &'w [u8], stamp: i64 },
    Delete,
}

#[derive(Default)]
struct Fold<'w> {
    keys: BTreeMap<Name<'w>, Folded<'w>>,
    creds: BTreeMap<Uuid, (Uuid, &'w [u8])>,
}

/// Stores credentials.
pub(super) async fn auth(tx: &mut Tx<'_>, items: &[Item<'_, AuthWrite>]) -> Result<()> {
    let mut fold = Fold::default();
    for &(place, write) in items {
        let owned = tx.owned(write.fence, write.session);
        let owned = owned.and_then(|()| tx.sessions.of_tenant(write.tenant, write.session).map(drop));
        if owned.is_ok() {
            for op in &write.ops {
                fold.add(tx.conn, write, op).await?;
            }
        }
        tx.answer(place, owned.map(|()| Outcome::Done));
    }
    fold.flush(tx.conn).await
}

impl<'w> Fold<'w> {
    /// Takes one change in; those that speak of many keys are carried out at once, after what came before.
    async fn add(&mut self, conn: &mut SqliteConnection, write: &AuthWrite, op: &'w AuthOp) -> Result<()> {
        let session = write.session.0;
        match op {
            AuthOp::PutCreds(value) => {
                self.creds.insert(session, (write.tenant.0, value));
            }
            AuthOp::Put { kind, key, value, stamp } => {
                let put = Folded::Put { tenant: write.tenant.0, value, stamp: *stamp };
                self.keys.insert((session, kind, key), put);
            }
            AuthOp::Update { kind, key, value, stamp } => {
                let update = Folded::Update { value, stamp: *stamp };
                let folded = match self.keys.get(&(session, *kind, key.as_str())) {
                    Some(Folded::Put { tenant, .. }) => Folded::Put { tenant: *tenant, value, stamp: *stamp },
                    // What was just deleted is not there to be replaced.
                    Some(Folded::Delete) => Folded::Delete,
                    Some(Folded::Update { .. }) | None => update,
                };
                self.keys.insert((session, kind, key), folded);
            }
            AuthOp::Delete { kind, key } => {
                self.keys.insert((session, kind, key), Folded::Delete);
            }
            AuthOp::Wipe => {
                self.flush(conn).await?;
                for statement in [WIPE_CREDS, WIPE_KEYS] {
                    execute(conn, statement, |cells| {
                        cells.id(session);
                    })
                    .await?;
                }
            }
            AuthOp::DeletePrefix { kind, prefix } => {
                self.flush(conn).await?;
                execute(conn, DELETE_PREFIX, |cells| {
                    cells.id(session).text(kind).text(prefix);
                })
                .await?;
            }
            AuthOp::DeleteStamped { kind, before } => {
                self.flush(conn).await?;
                execute(conn, DELETE_STAMPED, |cells| {
                    cells.id(session).text(kind).int(*before);
                })
                .await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self, conn: &mut SqliteConnection) -> Result<()> {
        let creds: Vec<_> = std::mem::take(&mut self.creds).into_iter().collect();
        PUT_CREDS
            .execute(conn, &creds, |(session, (tenant, value)), cells| {
                cells.id(*session).id(*tenant).blob(value);
            })
            .await?;
        let (mut puts, mut updates, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
        for (name, folded) in std::mem::take(&mut self.keys) {
            match folded {
                Folded::Put { tenant, value, stamp } => puts.push((name, tenant, value, stamp)),
                Folded::Update { value, stamp } => updates.push((name, value, stamp)),
                Folded::Delete => deletes.push(name),
            }
        }
        PUT.execute(conn, &puts, |((session, kind, key), tenant, value, stamp), cells| {
            cells.id(*session).text(kind).text(key).id(*tenant).blob(value).int(*stamp);
        })
        .await?;
        UPDATE
            .execute(conn, &updates, |((session, kind, key), value, stamp), cells| {
                cells.id(*session).text(kind).text(key).blob(value).int(*stamp);
            })
            .await?;
        DELETE
            .execute(conn, &deletes, |(session, kind, key), cells| {
                cells.id(*session).text(kind).text(key);
            })
            .await
            .map(drop)
    }
}
