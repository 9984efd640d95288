//! A phone as data. Promises that a restored phone goes on where the stored one stood; only a pairing code that was
//! being typed is lost, because it lives three minutes anyway.

use serde::{Deserialize, Serialize};

use super::Phone;
use super::addressing::Own;
use super::app_state::AppState;
use super::companions::Companions;
use super::error::PhoneError;
use super::seen::Counts;
use super::sent::Sent;
use super::vault::{FrozenVault, Vault};

/// The layout below; a change of it needs a new number.
const VERSION: u32 = 1;

/// Everything a phone is. It holds private keys: store it where nobody else reads.
#[derive(Clone, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    pn: String,
    lid: String,
    push_name: String,
    vault: FrozenVault,
    companions: Companions,
    app_state: AppState,
    seen: Counts,
    asked: Counts,
    sent: Sent,
}

impl Phone {
    /// The whole phone as data.
    pub fn snapshot(&self) -> Result<Snapshot, PhoneError> {
        Ok(Snapshot {
            version: VERSION,
            pn: self.own.pn.to_string(),
            lid: self.own.lid.to_string(),
            push_name: self.push_name.clone(),
            vault: self.vault.freeze()?,
            companions: self.companions.clone(),
            app_state: self.app_state.clone(),
            seen: self.seen.clone(),
            asked: self.asked.clone(),
            sent: self.sent.clone(),
        })
    }

    /// The phone that was stored. When the sandbox did not stop cleanly the snapshot may be older than the last
    /// message: then also call [`Phone::forget_sessions`], or keys would be used twice.
    pub fn restore(snapshot: Snapshot) -> Result<Self, PhoneError> {
        if snapshot.version != VERSION {
            return Err(PhoneError::Snapshot("written by another version"));
        }
        let jid = |text: &str| text.parse().map_err(|_bad| PhoneError::Snapshot("bad address"));
        Ok(Self {
            own: Own { pn: jid(&snapshot.pn)?, lid: jid(&snapshot.lid)? },
            push_name: snapshot.push_name,
            vault: Vault::thaw(snapshot.vault)?,
            companions: snapshot.companions,
            typed: None,
            app_state: snapshot.app_state,
            seen: snapshot.seen,
            asked: snapshot.asked,
            sent: snapshot.sent,
        })
    }

    /// Starts every conversation anew: our next messages bring new sessions, and whoever still writes in an old one is
    /// asked to write again.
    pub fn forget_sessions(&mut self) {
        self.vault.forget_all();
    }
}
