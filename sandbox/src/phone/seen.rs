//! Which messages a phone has had. Promises to count every repeat of the last [`CAPACITY`] messages in 12 bytes each.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use whatsapp_rust::wacore_binary::Jid;

use super::base64_serde as b64;

/// Messages remembered.
const CAPACITY: usize = 65_536;

/// A message's fingerprint: its sender (canonical, without device) and id.
pub(super) fn fingerprint(sender: &Jid, id: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(sender.user.as_bytes());
    hash.update(sender.server.as_str().as_bytes());
    hash.update([0]);
    hash.update(id.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

/// A bounded map from fingerprint to a small count; the oldest entry goes first.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(from = "Packed", into = "Packed")]
pub(super) struct Counts {
    counts: HashMap<u64, u32>,
    order: VecDeque<u64>,
}

impl Counts {
    /// How often it was there before; counts this time.
    pub(super) fn note(&mut self, print: u64) -> u32 {
        if let Some(count) = self.counts.get_mut(&print) {
            *count = count.saturating_add(1);
            return *count;
        }
        if self.order.len() >= CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.counts.remove(&oldest);
        }
        self.order.push_back(print);
        self.counts.insert(print, 0);
        0
    }

    pub(super) fn contains(&self, print: u64) -> bool {
        self.counts.contains_key(&print)
    }
}

#[derive(Serialize, Deserialize)]
struct Packed {
    #[serde(with = "b64")]
    entries: Vec<u8>,
}

impl From<Counts> for Packed {
    fn from(counts: Counts) -> Self {
        let mut entries = Vec::with_capacity(counts.order.len() * 12);
        for print in &counts.order {
            entries.extend_from_slice(&print.to_le_bytes());
            entries.extend_from_slice(&counts.counts.get(print).copied().unwrap_or(0).to_le_bytes());
        }
        Self { entries }
    }
}

impl From<Packed> for Counts {
    fn from(packed: Packed) -> Self {
        let mut all = Self::default();
        for entry in packed.entries.as_chunks::<12>().0.iter().take(CAPACITY) {
            let (print, count) = entry.split_at(8);
            let print = u64::from_le_bytes(print.try_into().unwrap_or_default());
            let count = u32::from_le_bytes(count.try_into().unwrap_or_default());
            all.order.push_back(print);
            all.counts.insert(print, count);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_and_memory_is_bounded() {
        let mut seen = Counts::default();
        let jid = Jid::lid("7");
        assert_eq!(seen.note(fingerprint(&jid, "a")), 0);
        assert_eq!(seen.note(fingerprint(&jid, "a")), 1);
        assert_eq!(seen.note(fingerprint(&jid, "a")), 2);
        assert_eq!(seen.note(fingerprint(&Jid::lid("8"), "a")), 0, "the same id of another sender is new");
        for n in 0..CAPACITY {
            seen.note(fingerprint(&jid, &n.to_string()));
        }
        assert_eq!(seen.counts.len(), CAPACITY);
        assert!(!seen.contains(fingerprint(&jid, "a")), "the oldest is forgotten");
    }

    #[test]
    fn counts_survive_a_snapshot() -> anyhow::Result<()> {
        let mut seen = Counts::default();
        let print = fingerprint(&Jid::lid("7"), "a");
        seen.note(print);
        seen.note(print);
        let mut back: Counts = serde_json::from_str(&serde_json::to_string(&seen)?)?;
        assert_eq!(back.note(print), 2);
        Ok(())
    }
}
