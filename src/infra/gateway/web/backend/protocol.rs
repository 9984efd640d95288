//! What the engine remembers about people, devices and groups, and the buffer of messages sent.

use std::sync::atomic::Ordering;

use whatsapp_rust::async_trait;
use whatsapp_rust::wacore::store::traits::{
    DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow, ProtocolStore, TcTokenEntry,
};

use super::lazy::Key;
use super::{Backend, StoreResult, decode, encode, joined, seconds};
use crate::domain::write::AuthOp;

const SENDER_KEY_DEVICE: &str = "sender-key-device";
const LID: &str = "lid";
const PN: &str = "pn";
const BASE_KEY: &str = "base-key";
const GROUP: &str = "group";
const SENT: &str = "sent";

#[async_trait]
impl ProtocolStore for Backend {
    async fn get_sender_key_devices(&self, group_jid: &str) -> StoreResult<Vec<(String, bool)>> {
        let prefix = joined(&[group_jid], "");
        let rows = self.family(SENDER_KEY_DEVICE, &prefix).await?.into_iter();
        Ok(rows
            .filter_map(|(key, has, _)| Some((key.strip_prefix(&prefix)?.to_owned(), has == [1])))
            .collect())
    }

    async fn set_sender_key_status(&self, group_jid: &str, entries: &[(&str, bool)]) -> StoreResult<()> {
        let ops = entries.iter().map(|(device, has)| {
            self.put(SENDER_KEY_DEVICE, joined(&[group_jid], device), &[u8::from(*has)], 0)
        });
        let ops = ops.collect::<StoreResult<_>>()?;
        self.write(ops).await
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> StoreResult<()> {
        let prefix = joined(&[group_jid], "");
        self.write(vec![AuthOp::DeletePrefix { kind: SENDER_KEY_DEVICE, prefix }]).await
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> StoreResult<()> {
        if device_jids.is_empty() {
            return Ok(());
        }
        let rows = self.sealed_family(SENDER_KEY_DEVICE, "").await?.into_iter();
        let ops = rows
            .filter(|(key, _, _)| after_first_part(key).is_some_and(|device| device_jids.contains(&device)));
        let ops = ops.map(|(key, _, _)| AuthOp::Delete { kind: SENDER_KEY_DEVICE, key });
        self.write(ops.collect()).await
    }

    async fn clear_all_sender_key_devices(&self) -> StoreResult<()> {
        self.write(vec![AuthOp::DeletePrefix { kind: SENDER_KEY_DEVICE, prefix: String::new() }]).await
    }

    async fn get_lid_mapping(&self, lid: &str) -> StoreResult<Option<LidPnMappingEntry>> {
        self.get(LID, lid).await?.map(|bytes| decode(&bytes)).transpose()
    }

    async fn get_pn_mapping(&self, phone: &str) -> StoreResult<Option<LidPnMappingEntry>> {
        let Some(lid) = self.get(PN, phone).await? else { return Ok(None) };
        self.get_lid_mapping(&String::from_utf8_lossy(&lid)).await
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> StoreResult<()> {
        self.put_lid_mappings(std::slice::from_ref(entry)).await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> StoreResult<()> {
        let _turn = self.turn.lock().await;
        let lids: Vec<String> = entries.iter().map(|entry| entry.lid.clone()).collect();
        let known = self.many(LID, &lids).await?;
        let mut ops = Vec::with_capacity(entries.len() * 2);
        for (_, old, _) in &known {
            let old: LidPnMappingEntry = decode(old)?;
            let moved =
                |entry: &LidPnMappingEntry| entry.lid == old.lid && entry.phone_number != old.phone_number;
            // The number the LID had before may belong to somebody else by now: only its own pointer goes.
            if entries.iter().any(moved)
                && self.get(PN, &old.phone_number).await?.as_deref() == Some(old.lid.as_bytes())
            {
                ops.push(AuthOp::Delete { kind: PN, key: old.phone_number });
            }
        }
        for entry in entries {
            ops.push(self.put(LID, entry.lid.clone(), &encode(entry)?, 0)?);
            ops.push(self.put(PN, entry.phone_number.clone(), entry.lid.as_bytes(), 0)?);
        }
        self.write(ops).await
    }

    async fn get_all_lid_mappings(&self) -> StoreResult<Vec<LidPnMappingEntry>> {
        self.family(LID, "").await?.iter().map(|(_, bytes, _)| decode(bytes)).collect()
    }

    async fn save_base_key(&self, address: &str, message_id: &str, base_key: &[u8]) -> StoreResult<()> {
        self.write(vec![self.put(BASE_KEY, joined(&[address], message_id), base_key, 0)?]).await
    }

    async fn has_same_base_key(
        &self,
        address: &str,
        message_id: &str,
        current_base_key: &[u8],
    ) -> StoreResult<bool> {
        let stored = self.get(BASE_KEY, &joined(&[address], message_id)).await?;
        Ok(stored.is_some_and(|stored| stored == current_base_key))
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> StoreResult<()> {
        self.write(vec![AuthOp::Delete { kind: BASE_KEY, key: joined(&[address], message_id) }]).await
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> StoreResult<()> {
        self.update_device_lists(vec![record]).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> StoreResult<()> {
        self.memorise(&self.devices, records.into_iter().map(|it| (it.user.clone(), Some(it))).collect())
            .await
    }

    async fn get_devices(&self, user: &str) -> StoreResult<Option<DeviceListRecord>> {
        self.recall(&self.devices, user).await
    }

    async fn delete_devices(&self, user: &str) -> StoreResult<()> {
        self.memorise(&self.devices, vec![(user.to_owned(), None)]).await
    }

    async fn get_group_metadata(&self, group_jid: &str) -> StoreResult<Option<Vec<u8>>> {
        self.get(GROUP, group_jid).await
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> StoreResult<()> {
        self.write(vec![self.put(GROUP, group_jid.to_owned(), blob, 0)?]).await
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> StoreResult<()> {
        self.write(vec![AuthOp::Delete { kind: GROUP, key: group_jid.to_owned() }]).await
    }

    async fn get_tc_token(&self, jid: &str) -> StoreResult<Option<TcTokenEntry>> {
        self.recall(&self.tc_tokens, jid).await
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> StoreResult<()> {
        let _turn = self.turn.lock().await;
        self.memorise(&self.tc_tokens, vec![(jid.to_owned(), Some(entry.clone()))]).await
    }

    async fn delete_tc_token(&self, jid: &str) -> StoreResult<()> {
        let _turn = self.turn.lock().await;
        self.memorise(&self.tc_tokens, vec![(jid.to_owned(), None)]).await
    }

    async fn get_all_tc_token_jids(&self) -> StoreResult<Vec<String>> {
        Ok(self.sealed_family(self.tc_tokens.kind(), "").await?.into_iter().map(|(jid, _, _)| jid).collect())
    }

    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> StoreResult<u32> {
        let _turn = self.turn.lock().await;
        let mut expired = Vec::new();
        for (jid, bytes, _) in self.family(self.tc_tokens.kind(), "").await? {
            let entry: TcTokenEntry = decode(&bytes)?;
            let received = !entry.token.is_empty() && entry.token_timestamp >= token_cutoff;
            let issued = entry.sender_timestamp.is_some_and(|at| at >= sender_cutoff);
            if !received && !issued {
                expired.push((jid, None));
            }
        }
        let deleted = u32::try_from(expired.len()).unwrap_or(u32::MAX);
        self.memorise(&self.tc_tokens, expired).await?;
        Ok(deleted)
    }

    async fn touch_tc_token_sender_timestamp(&self, jid: &str, sender_timestamp: i64) -> StoreResult<()> {
        let _turn = self.turn.lock().await;
        let entry = match self.get_tc_token(jid).await? {
            Some(known) if known.sender_timestamp >= Some(sender_timestamp) => return Ok(()),
            Some(known) => TcTokenEntry { sender_timestamp: Some(sender_timestamp), ..known },
            None => TcTokenEntry {
                token: Vec::new(),
                token_timestamp: sender_timestamp,
                sender_timestamp: Some(sender_timestamp),
            },
        };
        self.memorise(&self.tc_tokens, vec![(jid.to_owned(), Some(entry))]).await
    }

    async fn store_received_tc_token(
        &self,
        jid: &str,
        token: &[u8],
        token_timestamp: i64,
    ) -> StoreResult<()> {
        let _turn = self.turn.lock().await;
        let known = self.get_tc_token(jid).await?;
        if known
            .as_ref()
            .is_some_and(|known| !known.token.is_empty() && token_timestamp < known.token_timestamp)
        {
            return Ok(());
        }
        let sender_timestamp = known.and_then(|known| known.sender_timestamp);
        let entry = TcTokenEntry { token: token.to_vec(), token_timestamp, sender_timestamp };
        self.memorise(&self.tc_tokens, vec![(jid.to_owned(), Some(entry))]).await
    }

    async fn store_sent_message(&self, chat_jid: &str, message_id: &str, payload: &[u8]) -> StoreResult<()> {
        self.newest_sent.store(seconds(), Ordering::Release);
        self.put_lazily(std::iter::once((sent(chat_jid, message_id), payload))).await
    }

    async fn take_sent_message(&self, chat_jid: &str, message_id: &str) -> StoreResult<Option<Vec<u8>>> {
        let _turn = self.turn.lock().await;
        let key = sent(chat_jid, message_id);
        let taken = self.get_lazily(&key).await?;
        if taken.is_some() {
            self.lazy().delete(key);
        }
        Ok(taken)
    }

    async fn delete_expired_sent_messages(&self, cutoff_timestamp: i64) -> StoreResult<u32> {
        // Rows that wait for a flush that never came get their write here.
        self.settle().await?;
        self.sweep(SENT, &self.newest_sent, cutoff_timestamp).await?;
        Ok(0)
    }

    async fn store_pending_inbound(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
        message: &[u8],
    ) -> StoreResult<()> {
        self.store_pending_inbound_batch(&[PendingInboundRow { chat, sender, id, message }]).await
    }

    async fn get_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> StoreResult<Option<Vec<u8>>> {
        self.recall_inbound(chat, sender, id).await
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> StoreResult<()> {
        self.delete_pending_inbound_batch(&[PendingInboundKey { chat, sender, id }]).await
    }

    async fn delete_expired_pending_inbound(&self, cutoff_timestamp: i64) -> StoreResult<u32> {
        self.expire_inbound(cutoff_timestamp).await?;
        Ok(0)
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> StoreResult<()> {
        self.keep_inbound(rows).await
    }

    async fn delete_pending_inbound_batch(&self, keys: &[PendingInboundKey<'_>]) -> StoreResult<()> {
        self.forget_inbound(keys);
        Ok(())
    }
}

fn sent(chat: &str, id: &str) -> Key {
    (SENT, joined(&[chat], id))
}

/// What follows the first part of a [`joined`] name.
fn after_first_part(name: &str) -> Option<&str> {
    let (length, rest) = name.split_once(':')?;
    rest.get(length.parse::<usize>().ok()?..)
}
