//! Idempotency keys: the first answer, given again to the same request and refused to another.

use std::collections::HashMap;

use rusqlite::Connection;
use uuid::Uuid;

use crate::domain::error::{Error, Result};
use crate::domain::ids::TenantId;
use crate::domain::time::Timestamp;
use crate::domain::view::StoredAnswer;
use crate::domain::write::{Idempotency, Outcome};
use crate::infra::store::sqlite::sql::Columns;
use crate::infra::store::sqlite::statement::{each, fetch};

pub(super) const LOAD: &str =
    "select tenant_id, key, fingerprint, response from idempotency where tenant_id = ? and key = ?";
const SAVE: &str =
    "insert into idempotency (tenant_id, key, fingerprint, response, created_at) values (?, ?, ?, ?, ?)";

type Name = (Uuid, String);

/// The answers known for the keys of a batch.
#[derive(Default)]
pub(super) struct Stored {
    answers: HashMap<Name, StoredAnswer>,
    new: Vec<(Name, Timestamp)>,
}

impl Stored {
    pub(super) fn load(conn: &Connection, names: &[Name]) -> Result<Self> {
        let mut answers = HashMap::new();
        let rows = fetch(conn, LOAD, names, |(tenant, key), cells| {
            cells.id(*tenant).text(key);
        });
        for row in rows? {
            let fingerprint = row.blob(2)?.try_into().map_err(Error::bug)?;
            let response = serde_json::from_str(row.text(3)?).map_err(Error::bug)?;
            answers.insert((row.id(0)?, row.text(1)?.to_owned()), StoredAnswer { fingerprint, response });
        }
        Ok(Self { answers, new: Vec::new() })
    }

    /// The answer to a request whose key was used before; `None` when it is new.
    pub(super) fn replay(&self, tenant: TenantId, used: Option<&Idempotency>) -> Option<Result<Outcome>> {
        let used = used?;
        let earlier = self.answers.get(&(tenant.0, used.key.clone()))?;
        if earlier.fingerprint == used.fingerprint {
            return Some(Ok(Outcome::Accepted { response: earlier.response.clone(), replayed: true }));
        }
        let mut refusal =
            Error::conflict("idempotency_key_reused", "this key was used for a different request");
        refusal.field = Some("Idempotency-Key".to_owned());
        Some(Err(refusal))
    }

    /// Keeps the answer of an accepted request and gives it.
    pub(super) fn keep(
        &mut self,
        tenant: TenantId,
        used: Option<&Idempotency>,
        response: &serde_json::Value,
        at: Timestamp,
    ) -> Outcome {
        if let Some(used) = used {
            let name = (tenant.0, used.key.clone());
            let answer = StoredAnswer { fingerprint: used.fingerprint, response: response.clone() };
            self.answers.insert(name.clone(), answer);
            self.new.push((name, at));
        }
        Outcome::Accepted { response: response.clone(), replayed: false }
    }

    pub(super) fn flush(&mut self, conn: &Connection) -> Result<()> {
        let new = std::mem::take(&mut self.new);
        let full: Vec<_> = new
            .into_iter()
            .filter_map(|(name, at)| {
                let answer = self.answers.get(&name)?;
                Some((name, answer.fingerprint, answer.response.to_string(), at))
            })
            .collect();
        each(conn, SAVE, &full, |((tenant, key), fingerprint, response, at), cells| {
            cells.id(*tenant).text(key).blob(fingerprint).text(response).int(at.0);
        })
        .map(drop)
    }
}
