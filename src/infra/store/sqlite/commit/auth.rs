//! A session's credentials: many small changes, folded to one per key before anything is written.

use std::collections::BTreeMap;

use rusqlite::Connection;
use uuid::Uuid;

use super::{Item, Tx};
use crate::domain::error::Result;
use crate::domain::write::{AuthOp, AuthWrite, Outcome};
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
pub(super) fn auth(tx: &mut Tx<'_>, items: &[Item<'_, AuthWrite>]) -> Result<()> {
    let mut fold = Fold::default();
    for &(place, write) in items {
        let owned = tx.owned(write.fence, write.session);
        let owned = owned.and_then(|()| tx.sessions.of_tenant(write.tenant, write.session).map(drop));
        if owned.is_ok() {
            for op in &write.ops {
                fold.add(tx.conn, write, op)?;
            }
        }
        tx.answer(place, owned.map(|()| Outcome::Done));
    }
    fold.flush(tx.conn)
}

impl<'w> Fold<'w> {
    /// Takes one change in; those that speak of many keys are carried out at once, after what came before.
    fn add(&mut self, conn: &Connection, write: &AuthWrite, op: &'w AuthOp) -> Result<()> {
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
                self.flush(conn)?;
                for statement in [WIPE_CREDS, WIPE_KEYS] {
                    execute(conn, statement, |cells| {
                        cells.id(session);
                    })?;
                }
            }
            AuthOp::DeletePrefix { kind, prefix } => {
                self.flush(conn)?;
                execute(conn, DELETE_PREFIX, |cells| {
                    cells.id(session).text(kind).text(prefix);
                })?;
            }
            AuthOp::DeleteStamped { kind, before } => {
                self.flush(conn)?;
                execute(conn, DELETE_STAMPED, |cells| {
                    cells.id(session).text(kind).int(*before);
                })?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, conn: &Connection) -> Result<()> {
        let creds: Vec<_> = std::mem::take(&mut self.creds).into_iter().collect();
        each(conn, PUT_CREDS, &creds, |(session, (tenant, value)), cells| {
            cells.id(*session).id(*tenant).blob(value);
        })?;
        let (mut puts, mut updates, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
        for (name, folded) in std::mem::take(&mut self.keys) {
            match folded {
                Folded::Put { tenant, value, stamp } => puts.push((name, tenant, value, stamp)),
                Folded::Update { value, stamp } => updates.push((name, value, stamp)),
                Folded::Delete => deletes.push(name),
            }
        }
        each(conn, PUT, &puts, |((session, kind, key), tenant, value, stamp), cells| {
            cells.id(*session).text(kind).text(key).id(*tenant).blob(value).int(*stamp);
        })?;
        each(conn, UPDATE, &updates, |((session, kind, key), value, stamp), cells| {
            cells.id(*session).text(kind).text(key).blob(value).int(*stamp);
        })?;
        each(conn, DELETE, &deletes, |(session, kind, key), cells| {
            cells.id(*session).text(kind).text(key);
        })
        .map(drop)
    }
}
