//! What a phone may ask of the world around it. Promises that everything outside the phone enters through here:
//! time, other people's devices and keys, and the two names (number and LID) of a user.

use serde::{Deserialize, Serialize};
use whatsapp_rust::wacore_binary::Jid;

/// The world as a phone sees it; the server implements it. Users are bare JIDs (number or LID) and either form
/// must be answered.
pub trait Directory {
    /// Unix seconds now.
    fn now(&self) -> u64;
    /// Device ids of an account, 0 (its phone) included; empty when there is no such account.
    fn devices(&self, user: &Jid) -> Vec<u16>;
    /// The key bundle of one device (`device` of the JID is set). Takes one one-time prekey from the stock.
    fn bundle(&mut self, device: &Jid) -> Option<PeerBundle>;
    /// The LID of a phone number.
    fn lid_of(&self, pn: &Jid) -> Option<Jid>;
    /// The phone number of a LID.
    fn pn_of(&self, lid: &Jid) -> Option<Jid>;
}

/// What is needed to write to a device for the first time.
#[derive(Debug, Clone)]
pub struct PeerBundle {
    /// Signal registration id.
    pub registration_id: u32,
    /// Identity key, raw.
    pub identity: [u8; 32],
    /// Signed prekey.
    pub signed_prekey: SignedPreKey,
    /// A one-time prekey while stocks last.
    pub prekey: Option<OneTimePreKey>,
    /// `ADVSignedDeviceIdentity` as the companion returned it when it was linked; `None` for phones.
    pub device_identity: Option<Vec<u8>>,
}

/// Public half of a signed prekey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPreKey {
    /// Its id.
    pub id: u32,
    /// The key, raw.
    pub public: [u8; 32],
    /// `XEdDSA` signature by the identity key (64 bytes).
    pub signature: Vec<u8>,
}

/// Public half of a one-time prekey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTimePreKey {
    /// Its id.
    pub id: u32,
    /// The key, raw.
    pub public: [u8; 32],
}
