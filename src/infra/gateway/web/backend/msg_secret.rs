//! Secrets of messages, needed later to read edits, votes and reactions to them. The stamp is the deadline.

use std::sync::atomic::Ordering;

use whatsapp_rust::async_trait;
use whatsapp_rust::wacore::store::traits::{
    MsgSecretEntry, MsgSecretStore, merge_msg_secret_expiry, merge_msg_secret_message_ts,
};

use super::{Backend, StoreResult, joined, seconds};
use crate::domain::write::AuthOp;

const SECRET: &str = "msg-secret";
/// The most rows of one write.
const CHUNK: usize = 256;
/// Secrets live for days: the tables are swept this often, not at each of the engine's asks.
const SWEEP_EVERY: i64 = 3600;

#[async_trait]
impl MsgSecretStore for Backend {
    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> StoreResult<usize> {
        let _turn = self.turn.lock().await;
        for chunk in entries.chunks(CHUNK) {
            let names: Vec<String> = chunk.iter().map(name).collect();
            let stored = self.many(SECRET, &names).await?;
            // Later entries of one call see the earlier ones.
            let mut rows: Vec<(String, [u8; 32], i64, i64)> = Vec::with_capacity(chunk.len());
            for (key, entry) in names.into_iter().zip(chunk) {
                let here = rows.iter().position(|(other, ..)| *other == key);
                let known = here.map(|at| (rows[at].2, rows[at].3)).or_else(|| {
                    let (_, value, deadline) = stored.iter().find(|(other, _, _)| *other == key)?;
                    Some((*deadline, split(value)?.1))
                });
                let (deadline, sent) =
                    known.map_or((entry.expires_at, entry.message_ts), |(deadline, sent)| {
                        (
                            merge_msg_secret_expiry(deadline, entry.expires_at),
                            merge_msg_secret_message_ts(sent, entry.message_ts),
                        )
                    });
                match here {
                    Some(at) => rows[at] = (key, entry.secret, deadline, sent),
                    None => rows.push((key, entry.secret, deadline, sent)),
                }
            }
            let ops = rows.into_iter().map(|(key, secret, deadline, sent)| {
                let mut value = secret.to_vec();
                value.extend_from_slice(&sent.to_le_bytes());
                self.put(SECRET, key, &value, deadline)
            });
            let ops = ops.collect::<StoreResult<_>>()?;
            self.write(ops).await?;
        }
        Ok(entries.len())
    }

    async fn get_msg_secret(&self, chat: &str, sender: &str, msg_id: &str) -> StoreResult<Option<Vec<u8>>> {
        Ok(self.get_msg_secret_with_ts(chat, sender, msg_id).await?.map(|(secret, _)| secret))
    }

    async fn get_msg_secret_with_ts(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> StoreResult<Option<(Vec<u8>, i64)>> {
        let value = self.get(SECRET, &joined(&[chat, sender], msg_id)).await?;
        Ok(value.as_deref().and_then(split).map(|(secret, sent)| (secret.to_vec(), sent)))
    }

    async fn delete_expired_msg_secrets(&self, cutoff_timestamp: i64) -> StoreResult<u32> {
        let now = seconds();
        if now - self.secrets_swept.load(Ordering::Acquire) < SWEEP_EVERY {
            return Ok(0);
        }
        // The bound of `DeleteStamped` is exclusive, the engine's cutoff is not.
        self.write(vec![AuthOp::DeleteStamped { kind: SECRET, before: cutoff_timestamp.saturating_add(1) }])
            .await?;
        self.secrets_swept.store(now, Ordering::Release);
        Ok(0)
    }
}

fn name(entry: &MsgSecretEntry) -> String {
    joined(&[&entry.chat, &entry.sender], &entry.msg_id)
}

/// The secret and the time of its message.
fn split(value: &[u8]) -> Option<(&[u8; 32], i64)> {
    let (secret, sent) = value.split_first_chunk::<32>()?;
    Some((secret, i64::from_le_bytes(sent.try_into().ok()?)))
}
