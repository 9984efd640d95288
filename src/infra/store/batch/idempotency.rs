//! Idempotency keys: the first answer, given again to the same request and refused to another.

use std::collections::HashMap;

use uuid::Uuid;

use crate::domain::error::{Error, Result};
use crate::domain::ids::TenantId;
use crate::domain::time::Timestamp;
use crate::domain::view::StoredAnswer;
use crate::domain::write::{Idempotency, Outcome};

/// Whose key, and the key.
pub(crate) type Name = (Uuid, String);

/// A key used for the first time, to be stored.
pub(crate) struct NewKey {
    pub(crate) tenant: Uuid,
    pub(crate) key: String,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) response: String,
    pub(crate) at: Timestamp,
}

/// The answers known for the keys of a batch.
#[derive(Default)]
pub(crate) struct Stored {
    answers: HashMap<Name, StoredAnswer>,
    new: Vec<(Name, Timestamp)>,
}

impl Stored {
    /// An answer as it is stored.
    pub(crate) fn know(&mut self, name: Name, fingerprint: &[u8], response: &str) -> Result<()> {
        let fingerprint = fingerprint.try_into().map_err(Error::bug)?;
        let response = serde_json::from_str(response).map_err(Error::bug)?;
        self.answers.insert(name, StoredAnswer { fingerprint, response });
        Ok(())
    }

    /// The answer to a request whose key was used before; `None` when it is new.
    pub(crate) fn replay(&self, tenant: TenantId, used: Option<&Idempotency>) -> Option<Result<Outcome>> {
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
    pub(crate) fn keep(
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

    /// The keys used for the first time in this batch.
    pub(crate) fn new_keys(&mut self) -> Vec<NewKey> {
        let new = std::mem::take(&mut self.new);
        let full = new.into_iter().filter_map(|((tenant, key), at)| {
            let name = (tenant, key);
            let answer = self.answers.get(&name)?;
            let (fingerprint, response) = (answer.fingerprint, answer.response.to_string());
            Some(NewKey { tenant, key: name.1, fingerprint, response, at })
        });
        full.collect()
    }
}
