//! A session's credentials: many small changes, folded to one per key before anything is written.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Batch, Item};
use crate::domain::write::{AuthOp, AuthWrite, Outcome};

/// Session, family, name.
pub(crate) type Name<'w> = (Uuid, &'static str, &'w str);

/// What is put down at once, in order.
pub(crate) enum Step<'w> {
    /// Changes of single values, no two of the same.
    Values(Values<'w>),
    /// Everything of a session goes.
    Wipe(Uuid),
    /// What starts with a prefix goes.
    DeletePrefix(Name<'w>),
    /// What is stamped below a bound goes.
    DeleteStamped(Uuid, &'static str, i64),
}

/// Changes of single values.
#[derive(Default)]
pub(crate) struct Values<'w> {
    /// Session, tenant, value.
    pub(crate) creds: Vec<(Uuid, Uuid, &'w [u8])>,
    /// With their tenant, value and stamp.
    pub(crate) puts: Vec<(Name<'w>, Uuid, &'w [u8], i64)>,
    /// With their value and stamp.
    pub(crate) updates: Vec<(Name<'w>, &'w [u8], i64)>,
    pub(crate) deletes: Vec<Name<'w>>,
}

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
    steps: Vec<Step<'w>>,
}

/// What the writers may do, step by step; answers all.
pub(crate) fn steps<'w>(batch: &mut Batch, items: &[Item<'w, AuthWrite>]) -> Vec<Step<'w>> {
    let mut fold = Fold::default();
    for &(place, write) in items {
        let owned = batch.owned(write.fence, write.session);
        let owned = owned.and_then(|()| batch.sessions.of_tenant(write.tenant, write.session).map(drop));
        if owned.is_ok() {
            write.ops.iter().for_each(|op| fold.add(write, op));
        }
        batch.answer(place, owned.map(|()| Outcome::Done));
    }
    fold.values();
    fold.steps
}

impl<'w> Fold<'w> {
    /// Takes one change in; those that speak of many keys come after what came before.
    fn add(&mut self, write: &AuthWrite, op: &'w AuthOp) {
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
            AuthOp::Wipe => self.at_once(Step::Wipe(session)),
            AuthOp::DeletePrefix { kind, prefix } => {
                self.at_once(Step::DeletePrefix((session, kind, prefix)))
            }
            AuthOp::DeleteStamped { kind, before } => {
                self.at_once(Step::DeleteStamped(session, kind, *before));
            }
        }
    }

    fn at_once(&mut self, step: Step<'w>) {
        self.values();
        self.steps.push(step);
    }

    /// What was folded so far is a step.
    fn values(&mut self) {
        if self.keys.is_empty() && self.creds.is_empty() {
            return;
        }
        let mut values = Values::default();
        for (session, (tenant, value)) in std::mem::take(&mut self.creds) {
            values.creds.push((session, tenant, value));
        }
        for (name, folded) in std::mem::take(&mut self.keys) {
            match folded {
                Folded::Put { tenant, value, stamp } => values.puts.push((name, tenant, value, stamp)),
                Folded::Update { value, stamp } => values.updates.push((name, value, stamp)),
                Folded::Delete => values.deletes.push(name),
            }
        }
        self.steps.push(Step::Values(values));
    }
}
