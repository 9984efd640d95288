//! Signal's keys and sessions. Every write here carries the rows that wait: a ratchet step and what it decrypted are
//! stored together.

use std::sync::Arc;

use bytes::Bytes;
use whatsapp_rust::async_trait;
use whatsapp_rust::wacore::store::error::StoreError;
use whatsapp_rust::wacore::store::traits::SignalStore;

use super::{Backend, StoreResult};
use crate::domain::write::AuthOp;

const IDENTITY: &str = "identity";
const SESSION: &str = "session";
const PREKEY: &str = "prekey";
const SIGNED: &str = "signed-prekey";
const SENDER: &str = "sender-key";

/// Whether the server has been given a prekey, in clear beside it.
const UPLOADED: i64 = 1;

#[async_trait]
impl SignalStore for Backend {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> StoreResult<()> {
        self.write_all(vec![self.put(IDENTITY, address.to_owned(), &key, 0)?]).await
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> StoreResult<()> {
        let ops = identities.iter().map(|(address, key)| self.put(IDENTITY, address.to_string(), key, 0));
        let ops = ops.collect::<StoreResult<_>>()?;
        self.write_all(ops).await
    }

    async fn load_identity(&self, address: &str) -> StoreResult<Option<[u8; 32]>> {
        let Some(key) = self.get(IDENTITY, address).await? else { return Ok(None) };
        let key = <[u8; 32]>::try_from(key.as_slice());
        key.map(Some).map_err(|_length| StoreError::Validation("an identity key is not 32 bytes".to_owned()))
    }

    async fn delete_identity(&self, address: &str) -> StoreResult<()> {
        self.write_all(vec![AuthOp::Delete { kind: IDENTITY, key: address.to_owned() }]).await
    }

    async fn get_session(&self, address: &str) -> StoreResult<Option<Bytes>> {
        Ok(self.get(SESSION, address).await?.map(Bytes::from))
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> StoreResult<()> {
        self.write_all(vec![self.put(SESSION, address.to_owned(), session, 0)?]).await
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> StoreResult<()> {
        let ops =
            sessions.iter().map(|(address, session)| self.put(SESSION, address.to_string(), session, 0));
        let ops = ops.collect::<StoreResult<_>>()?;
        self.write_all(ops).await
    }

    async fn delete_session(&self, address: &str) -> StoreResult<()> {
        self.write_all(vec![AuthOp::Delete { kind: SESSION, key: address.to_owned() }]).await
    }

    async fn has_session(&self, address: &str) -> StoreResult<bool> {
        self.has(SESSION, address).await
    }

    async fn has_signal_state_for_user(&self, user: &str) -> StoreResult<bool> {
        // `1555` is a prefix of `15550`: the next character decides.
        let of_user = |(key, _, _): &(String, Vec<u8>, i64)| {
            key.strip_prefix(user).is_some_and(|rest| rest.starts_with(['@', ':', '.']))
        };
        for kind in [SESSION, IDENTITY] {
            if self.sealed_family(kind, user).await?.iter().any(of_user) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn store_prekey(&self, id: u32, record: &[u8], uploaded: bool) -> StoreResult<()> {
        self.write_all(vec![self.put(PREKEY, id.to_string(), record, i64::from(uploaded))?]).await
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], uploaded: bool) -> StoreResult<()> {
        let ops =
            keys.iter().map(|(id, record)| self.put(PREKEY, id.to_string(), record, i64::from(uploaded)));
        let ops = ops.collect::<StoreResult<_>>()?;
        self.write_all(ops).await
    }

    async fn load_prekey(&self, id: u32) -> StoreResult<Option<Bytes>> {
        Ok(self.get(PREKEY, &id.to_string()).await?.map(Bytes::from))
    }

    async fn load_prekeys_batch(&self, ids: &[u32]) -> StoreResult<Vec<(u32, Bytes)>> {
        let names: Vec<String> = ids.iter().map(u32::to_string).collect();
        let rows = self.many(PREKEY, &names).await?;
        Ok(rows.into_iter().filter_map(|(id, record, _)| Some((id.parse().ok()?, record.into()))).collect())
    }

    async fn mark_prekeys_uploaded(&self, ids: &[u32]) -> StoreResult<()> {
        let names: Vec<String> = ids.iter().map(u32::to_string).collect();
        let _turn = self.turn.lock().await;
        // `Update` and not `Put`: a key that was used meanwhile must not come back.
        let ops = self.sealed_many(PREKEY, &names).await?.into_iter();
        let ops = ops.map(|(key, value, _)| AuthOp::Update { kind: PREKEY, key, value, stamp: UPLOADED });
        self.write_all(ops.collect()).await
    }

    async fn remove_prekey(&self, id: u32) -> StoreResult<()> {
        self.write_all(vec![AuthOp::Delete { kind: PREKEY, key: id.to_string() }]).await
    }

    async fn get_max_prekey_id(&self) -> StoreResult<u32> {
        let rows = self.sealed_family(PREKEY, "").await?;
        Ok(rows.iter().filter_map(|(id, _, _)| id.parse().ok()).max().unwrap_or_default())
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> StoreResult<()> {
        self.write_all(vec![self.put(SIGNED, id.to_string(), record, 0)?]).await
    }

    async fn load_signed_prekey(&self, id: u32) -> StoreResult<Option<Vec<u8>>> {
        self.get(SIGNED, &id.to_string()).await
    }

    async fn load_all_signed_prekeys(&self) -> StoreResult<Vec<(u32, Vec<u8>)>> {
        let rows = self.family(SIGNED, "").await?;
        Ok(rows.into_iter().filter_map(|(id, record, _)| Some((id.parse().ok()?, record))).collect())
    }

    async fn remove_signed_prekey(&self, id: u32) -> StoreResult<()> {
        self.write_all(vec![AuthOp::Delete { kind: SIGNED, key: id.to_string() }]).await
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> StoreResult<()> {
        self.write_all(vec![self.put(SENDER, address.to_owned(), record, 0)?]).await
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> StoreResult<()> {
        let ops =
            sender_keys.iter().map(|(address, record)| self.put(SENDER, address.to_string(), record, 0));
        let ops = ops.collect::<StoreResult<_>>()?;
        self.write_all(ops).await
    }

    async fn get_sender_key(&self, address: &str) -> StoreResult<Option<Vec<u8>>> {
        self.get(SENDER, address).await
    }

    async fn delete_sender_key(&self, address: &str) -> StoreResult<()> {
        self.write_all(vec![AuthOp::Delete { kind: SENDER, key: address.to_owned() }]).await
    }
}
