//! The state that an account's devices share: its keys, versions and check values.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};

use whatsapp_rust::async_trait;
use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::store::traits::{AppStateSyncKey, AppSyncStore};

use super::{Backend, StoreResult, decode, encode, joined};
use crate::domain::time::now;
use crate::domain::write::AuthOp;

const KEY: &str = "app-key";
const VERSION: &str = "app-version";
const MAC: &str = "app-mac";

/// Numbers keys in the order in which they were stored, so that the latest is known.
static ORDER: AtomicI64 = AtomicI64::new(0);

#[async_trait]
impl AppSyncStore for Backend {
    async fn get_sync_key(&self, key_id: &[u8]) -> StoreResult<Option<AppStateSyncKey>> {
        self.get(KEY, &hex(key_id)).await?.map(|bytes| decode(&bytes)).transpose()
    }

    async fn set_sync_key(&self, key_id: &[u8], key: AppStateSyncKey) -> StoreResult<()> {
        let clock = now().0;
        let before =
            ORDER.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(clock.max(last + 1)));
        let order = clock.max(before.unwrap_or_default() + 1);
        self.write(vec![self.put(KEY, hex(key_id), &encode(&key)?, order)?]).await
    }

    async fn get_version(&self, name: &str) -> StoreResult<HashState> {
        let stored = self.get(VERSION, name).await?.map(|bytes| decode(&bytes)).transpose()?;
        Ok(stored.unwrap_or_default())
    }

    async fn set_version(&self, name: &str, state: HashState) -> StoreResult<()> {
        self.write(vec![self.put(VERSION, name.to_owned(), &encode(&state)?, 0)?]).await
    }

    async fn put_mutation_macs(
        &self,
        name: &str,
        _version: u64,
        mutations: &[AppStateMutationMAC],
    ) -> StoreResult<()> {
        let ops =
            mutations.iter().map(|mac| self.put(MAC, mac_name(name, &mac.index_mac), &mac.value_mac, 0));
        let ops = ops.collect::<StoreResult<_>>()?;
        self.write(ops).await
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        self.get(MAC, &mac_name(name, index_mac)).await
    }

    async fn get_mutation_macs(
        &self,
        name: &str,
        index_macs: &[[u8; 32]],
    ) -> StoreResult<HashMap<[u8; 32], Vec<u8>>> {
        let mut asked: HashMap<String, [u8; 32]> =
            index_macs.iter().map(|mac| (mac_name(name, mac), *mac)).collect();
        let names: Vec<String> = asked.keys().cloned().collect();
        let rows = self.many(MAC, &names).await?;
        Ok(rows.into_iter().filter_map(|(key, mac, _)| Some((asked.remove(&key)?, mac))).collect())
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> StoreResult<()> {
        let ops = index_macs.iter().map(|mac| AuthOp::Delete { kind: MAC, key: mac_name(name, mac) });
        self.write(ops.collect()).await
    }

    async fn clear_mutation_macs(&self, name: &str) -> StoreResult<()> {
        self.write(vec![AuthOp::DeletePrefix { kind: MAC, prefix: joined(&[name], "") }]).await
    }

    async fn get_latest_sync_key_id(&self) -> StoreResult<Option<Vec<u8>>> {
        let rows = self.sealed_family(KEY, "").await?;
        let latest = rows.into_iter().max_by_key(|(_, _, order)| *order);
        Ok(latest.and_then(|(key, _, _)| unhex(&key)))
    }
}

fn mac_name(collection: &str, index_mac: &[u8]) -> String {
    joined(&[collection], &hex(index_mac))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        if write!(text, "{byte:02x}").is_err() {
            tracing::trace!("writing to a string does not fail");
        }
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
