//! Sender keys: how groups and status posts are encrypted. Promises at most [`MAX_SENDER_KEYS`] of them; the oldest go
//! first (their authors are asked to send again).

use std::collections::{HashMap, VecDeque};

use futures_util::FutureExt;
use whatsapp_rust::async_trait;
use whatsapp_rust::wacore::libsignal::protocol::{
    SenderKeyDistributionMessage, SenderKeyName, SenderKeyRecord, SenderKeyStore, SignalProtocolError,
    group_decrypt, process_sender_key_distribution_message,
};
use whatsapp_rust::wacore_binary::Jid;

use super::super::addressing::session_of;
use super::Vault;
use super::cipher::STALLED;

const MAX_SENDER_KEYS: usize = 1_024;

/// The key of each (group, device) that wrote into a group.
#[derive(Default)]
pub(super) struct SenderKeys {
    records: HashMap<String, SenderKeyRecord>,
    order: VecDeque<String>,
}

impl SenderKeys {
    fn put(&mut self, name: &str, record: SenderKeyRecord) {
        if self.records.insert(name.to_owned(), record).is_some() {
            return;
        }
        self.order.push_back(name.to_owned());
        if self.order.len() > MAX_SENDER_KEYS
            && let Some(oldest) = self.order.pop_front()
        {
            self.records.remove(&oldest);
        }
    }

    pub(super) fn freeze(&self) -> Result<Vec<(String, Vec<u8>)>, SignalProtocolError> {
        let one = |name: &String| Some((name.clone(), self.records.get(name)?));
        let all = self.order.iter().filter_map(one);
        all.map(|(name, record)| Ok((name, record.serialize()?))).collect()
    }

    pub(super) fn thaw(frozen: &[(String, Vec<u8>)]) -> Result<Self, SignalProtocolError> {
        let mut keys = Self::default();
        for (name, bytes) in frozen {
            keys.put(name, SenderKeyRecord::deserialize(bytes)?);
        }
        Ok(keys)
    }
}

#[async_trait]
impl SenderKeyStore for SenderKeys {
    async fn store_sender_key(
        &mut self,
        name: &SenderKeyName,
        record: SenderKeyRecord,
    ) -> Result<(), SignalProtocolError> {
        self.put(name.cache_key(), record);
        Ok(())
    }

    async fn load_sender_key(
        &self,
        name: &SenderKeyName,
    ) -> Result<Option<SenderKeyRecord>, SignalProtocolError> {
        Ok(self.records.get(name.cache_key()).cloned())
    }
}

fn name_of(group: &Jid, author: &Jid) -> SenderKeyName {
    SenderKeyName::from_parts(&group.to_string(), session_of(author).as_str())
}

impl Vault {
    /// Takes the key that a device announced for a group.
    pub(in super::super) fn learn_sender_key(
        &mut self,
        group: &Jid,
        author: &Jid,
        announced: &[u8],
    ) -> Result<(), SignalProtocolError> {
        let announced = SenderKeyDistributionMessage::try_from(announced)?;
        process_sender_key_distribution_message(&name_of(group, author), &announced, &mut self.sender_keys)
            .now_or_never()
            .unwrap_or(Err(STALLED))
    }

    pub(super) fn decrypt_group(
        &mut self,
        group: &Jid,
        author: &Jid,
        sealed: &[u8],
    ) -> Result<Vec<u8>, SignalProtocolError> {
        group_decrypt(sealed, &mut self.sender_keys, &name_of(group, author))
            .now_or_never()
            .unwrap_or(Err(STALLED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_sender_key_makes_room() {
        let mut keys = SenderKeys::default();
        for n in 0..=MAX_SENDER_KEYS {
            keys.put(&n.to_string(), SenderKeyRecord::new_empty());
        }
        assert_eq!(keys.records.len(), MAX_SENDER_KEYS);
        assert!(!keys.records.contains_key("0"));
    }
}
