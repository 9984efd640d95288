//! The Signal sessions of a phone, deserialised, in memory. Promises at most [`MAX_SESSIONS`] of them: the least
//! recently used go first (a peer that comes back gets a new session by the retry protocol).

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use whatsapp_rust::async_trait;
use whatsapp_rust::wacore::libsignal::protocol::{
    ProtocolAddress, SessionCheckoutKey, SessionCheckoutStoreResult, SessionRecord, SessionStore,
    SignalProtocolError,
};

/// Devices a phone can talk to at a time.
pub(super) const MAX_SESSIONS: usize = 8_192;
/// How many go at once when the limit is hit, so that the scan for the oldest is rare.
const EVICTION: usize = MAX_SESSIONS / 8;

struct Held {
    record: SessionRecord,
    used: u64,
}

#[derive(Default)]
struct Inner {
    held: HashMap<ProtocolAddress, Held>,
    clock: u64,
}

impl Inner {
    fn put(&mut self, address: &ProtocolAddress, mut record: SessionRecord) {
        // A phone's state is saved whole and never while a message is half done; leased counters would only make
        // each restart skip keys. The lease of a new record is empty, so waiving it here burns nothing.
        record.waive_counter_lease();
        self.clock += 1;
        let used = self.clock;
        if let Some(held) = self.held.get_mut(address) {
            *held = Held { record, used };
            return;
        }
        if self.held.len() >= MAX_SESSIONS {
            self.evict();
        }
        self.held.insert(address.clone(), Held { record, used });
    }

    fn evict(&mut self) {
        let mut ages: Vec<u64> = self.held.values().map(|held| held.used).collect();
        ages.sort_unstable();
        let line = ages.get(EVICTION).copied().unwrap_or(u64::MAX);
        self.held.retain(|_, held| held.used >= line);
    }
}

/// All sessions. The lock exists only because the Signal library lends stores as shared references; it is never
/// contended.
#[derive(Default)]
pub(super) struct Sessions {
    inner: Mutex<Inner>,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn contains(&self, address: &ProtocolAddress) -> bool {
        self.lock().held.contains_key(address)
    }

    pub(super) fn remove(&mut self, address: &ProtocolAddress) {
        self.lock().held.remove(address);
    }

    /// Every session as (address, record), least recently used first.
    pub(super) fn freeze(&self) -> Result<Vec<(String, Vec<u8>)>, SignalProtocolError> {
        let inner = self.lock();
        let mut held: Vec<_> = inner.held.iter().collect();
        held.sort_unstable_by_key(|(_, held)| held.used);
        held.into_iter()
            .map(|(address, held)| Ok((address.name().to_owned(), held.record.serialize()?)))
            .collect()
    }

    pub(super) fn thaw(frozen: &[(String, Vec<u8>)]) -> Result<Self, SignalProtocolError> {
        let sessions = Self::default();
        for (name, bytes) in frozen {
            let record = SessionRecord::deserialize(bytes)?;
            sessions.lock().put(&ProtocolAddress::new(name, 0.into()), record);
        }
        Ok(sessions)
    }
}

/// A record that is being worked on is taken out of the map and comes back by `try_store_session_from_checkout`.
#[async_trait]
impl SessionStore for Sessions {
    async fn load_session(
        &self,
        address: &ProtocolAddress,
    ) -> Result<Option<SessionRecord>, SignalProtocolError> {
        Ok(self.lock().held.get(address).map(|held| held.record.clone()))
    }

    fn try_load_session_for_update(
        &self,
        address: &ProtocolAddress,
    ) -> Option<Result<(Option<SessionRecord>, Option<SessionCheckoutKey>), SignalProtocolError>> {
        let record = self.lock().held.remove(address).map(|held| held.record);
        Some(Ok((record, Some(SessionCheckoutKey::new(0, NonZeroU64::MIN)))))
    }

    async fn has_session(&self, address: &ProtocolAddress) -> Result<bool, SignalProtocolError> {
        Ok(self.contains(address))
    }

    fn try_has_session(&self, address: &ProtocolAddress) -> Option<Result<bool, SignalProtocolError>> {
        Some(Ok(self.contains(address)))
    }

    async fn store_session(
        &mut self,
        address: &ProtocolAddress,
        record: SessionRecord,
    ) -> Result<(), SignalProtocolError> {
        self.lock().put(address, record);
        Ok(())
    }

    fn try_store_session_from_checkout(
        &mut self,
        address: &ProtocolAddress,
        record: SessionRecord,
        _checkout: Option<SessionCheckoutKey>,
        _had_session: bool,
    ) -> SessionCheckoutStoreResult {
        self.lock().put(address, record);
        SessionCheckoutStoreResult::Stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_session_goes_first() {
        let sessions = Sessions::default();
        let address = |n: usize| ProtocolAddress::new(&format!("{n}@lid"), 0.into());
        for n in 0..=MAX_SESSIONS {
            sessions.lock().put(&address(n), SessionRecord::new_fresh());
        }
        assert!(!sessions.contains(&address(0)));
        assert!(sessions.contains(&address(EVICTION)));
        assert!(sessions.contains(&address(MAX_SESSIONS)));
        assert!(sessions.lock().held.len() <= MAX_SESSIONS);
    }
}
