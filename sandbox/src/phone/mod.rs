//! A virtual phone: the primary device (device 0) of one WhatsApp account.
//!
//! Promises to be a pure state machine that speaks the real protocol. It has no socket, no task and no clock: the server
//! hands it stanzas as it would write them to a socket, and carries out the [`Effect`]s it gives back. All keys are real
//! and all signatures verify, so an unmodified client cannot tell it from a telephone. Everything in it is bounded.
//!
//! ```text
//!   new ── seed_app_state ─▶ the server's store
//!   link_by_qr / enter_pair_code+finish_pair_code ─▶ LinkOffer ─▶ pair-success ─▶ complete_link
//!   first login and key upload of a companion ─▶ welcome ─▶ app-state key ─▶ the client is connected
//!   receive(stanza) ─▶ [Effect]          send_text ─▶ stanza
//! ```

mod addressing;
mod app_state;
mod base64_serde;
mod companions;
mod content;
mod directory;
mod effect;
mod error;
mod history;
mod pair_code;
mod qr;
mod receive;
mod retry;
mod seen;
mod send;
mod sent;
mod snapshot;
mod stanza;
#[cfg(test)]
mod tests;
mod vault;

pub use app_state::{CRITICAL_BLOCK, CollectionPatch};
pub use companions::{LinkOffer, LinkedDevice, MAX_COMPANIONS};
pub use content::{Kind, ReplyTo, Text};
pub use directory::{Directory, OneTimePreKey, PeerBundle, SignedPreKey};
pub use effect::{ChatState, Effect, MessageRef, ReceiptKind, Received};
pub use error::PhoneError;
pub use history::{CHUNK, Conversation, PastMessage};
pub use pair_code::{CompanionFinish, PreparedPairCode, PrimaryHello};
pub use qr::Qr;
pub use send::Sent;
pub use snapshot::Snapshot;

use addressing::{Own, session_of};
use app_state::AppState;
use companions::Companions;
use pair_code::TypedCode;
use seen::Counts;
use vault::Vault;
use whatsapp_rust::wacore_binary::{Jid, Node};

/// Longest push name that is kept.
const MAX_PUSH_NAME: usize = 25;
/// What the settings of a new account say about language.
const LOCALE: &str = "en_US";

/// One account's phone.
pub struct Phone {
    own: Own,
    push_name: String,
    vault: Vault,
    companions: Companions,
    typed: Option<TypedCode>,
    app_state: AppState,
    seen: Counts,
    asked: Counts,
    sent: sent::Sent,
}

impl Phone {
    /// A new account with fresh keys. `pn` is its number, `lid` its hidden name; `now` in Unix seconds.
    pub fn new(pn: &Jid, lid: &Jid, push_name: &str, now: u64) -> Result<Self, PhoneError> {
        let mut vault = Vault::generate()?;
        let companions = Companions::new(now, &mut vault.rng);
        let app_state = AppState::new(now, &mut vault.rng);
        Ok(Self {
            own: Own { pn: pn.to_non_ad(), lid: lid.to_non_ad() },
            push_name: shortened(push_name),
            vault,
            companions,
            typed: None,
            app_state,
            seen: Counts::default(),
            asked: Counts::default(),
            sent: sent::Sent::default(),
        })
    }

    /// The account's number (bare).
    pub fn pn(&self) -> &Jid {
        &self.own.pn
    }

    /// The account's LID (bare).
    pub fn lid(&self) -> &Jid {
        &self.own.lid
    }

    /// The name that others see.
    pub fn push_name(&self) -> &str {
        &self.push_name
    }

    /// Signal registration id of device 0.
    pub fn registration_id(&self) -> u32 {
        self.vault.registration_id()
    }

    /// Identity key of device 0; it is also the key that signs companions.
    pub fn identity(&self) -> [u8; 32] {
        self.vault.identity_public()
    }

    /// The signed prekey that the server publishes.
    pub fn signed_prekey(&self) -> SignedPreKey {
        self.vault.signed_prekey()
    }

    /// Makes one-time prekeys for the server to hand out, each once.
    pub fn mint_prekeys(&mut self, count: u16) -> Vec<OneTimePreKey> {
        self.vault.mint_prekeys(count)
    }

    /// Signs a companion whose code was scanned. It stays an offer until [`Phone::complete_link`].
    pub fn link_by_qr(&mut self, qr: &Qr, now: u64) -> Result<LinkOffer, PhoneError> {
        self.offer(qr.identity, &qr.adv_secret, now)
    }

    /// Takes the blob of `<pair-device-sign><device-identity>`. On success the device is linked; the server stores the
    /// blob and serves it in the device's key bundle.
    pub fn complete_link(&mut self, device: u16, blob: &[u8], now: u64) -> Result<(), PhoneError> {
        let account = self.vault.identity_public();
        self.companions.complete(device, blob, &account, now)
    }

    /// Forgets an offer that was refused or never answered.
    pub fn abandon_link(&mut self, device: u16) {
        self.companions.abandon(device);
    }

    /// Removes a companion; false when there was none.
    pub fn unlink(&mut self, device: u16, now: u64) -> bool {
        self.vault.forget(&session_of(&self.own.lid.with_device(device)));
        self.companions.unlink(device, now)
    }

    /// The companions, by device id.
    pub fn linked_devices(&self) -> Vec<LinkedDevice> {
        self.companions.linked().copied().collect()
    }

    /// `ADVSignedKeyIndexList` for `<key-index-list>`.
    pub fn signed_key_index_list(&mut self) -> Result<Vec<u8>, PhoneError> {
        self.companions.signed_list(&mut self.vault)
    }

    /// When the list last changed: the `ts` of `<key-index-list>`.
    pub fn key_index_ts(&self) -> u64 {
        self.companions.changed_at()
    }

    /// Types a pairing code; see [`PreparedPairCode::derive`] for the arguments. Slow: two key derivations.
    pub fn enter_pair_code(
        &mut self,
        code: &str,
        wrapped: &[u8],
        reference: &[u8],
    ) -> Result<PrimaryHello, PhoneError> {
        Ok(self.begin_pair_code(PreparedPairCode::derive(code, wrapped, reference)?))
    }

    /// As [`Phone::enter_pair_code`], when the slow part was done elsewhere. A newer code replaces an older one.
    pub fn begin_pair_code(&mut self, prepared: PreparedPairCode) -> PrimaryHello {
        let (typed, hello) = TypedCode::begin(prepared, self.vault.identity_public());
        self.typed = Some(typed);
        hello
    }

    /// Takes the companion's answer and makes an offer, just as a scanned code does.
    pub fn finish_pair_code(
        &mut self,
        finish: &CompanionFinish<'_>,
        now: u64,
    ) -> Result<LinkOffer, PhoneError> {
        let typed = self.typed.as_ref().ok_or(PhoneError::PairCode("none was typed"))?;
        let (identity, secret) = typed.finish(finish, &self.vault)?;
        self.typed = None;
        self.offer(identity, &secret, now)
    }

    fn offer(&mut self, identity: [u8; 32], secret: &[u8; 32], now: u64) -> Result<LinkOffer, PhoneError> {
        self.companions.offer(identity, secret, &mut self.vault, now)
    }

    /// The settings of a new account: patches for the server's store, to be appended when the account is created.
    /// Empty when that was done before.
    pub fn seed_app_state(&mut self, now: u64) -> Result<Vec<CollectionPatch>, PhoneError> {
        if self.app_state.version(CRITICAL_BLOCK) > 0 {
            return Ok(Vec::new());
        }
        let changes = [app_state::push_name(&self.push_name, now), app_state::locale(LOCALE, now)];
        Ok(vec![self.app_state.write(CRITICAL_BLOCK, &changes, &mut self.vault.rng)?])
    }

    /// Changes the push name; the patch goes to the server's store, and its companions are told by a notification.
    pub fn rename(&mut self, push_name: &str, now: u64) -> Result<CollectionPatch, PhoneError> {
        self.push_name = shortened(push_name);
        let change = [app_state::push_name(&self.push_name, now)];
        self.app_state.write(CRITICAL_BLOCK, &change, &mut self.vault.rng)
    }

    /// Follows a patch that a companion put into the server's store. Needed before [`Phone::rename`] can add the next.
    pub fn follow_patch(&mut self, collection: &str, patch: &[u8]) -> Result<(), PhoneError> {
        if let Some(name) = self.app_state.follow(collection, patch)? {
            self.push_name = shortened(&name);
        }
        Ok(())
    }

    /// What a companion gets once it is logged in and has uploaded its keys: the app-state key.
    pub fn welcome(&mut self, device: u16, directory: &mut dyn Directory) -> Result<Vec<Node>, PhoneError> {
        let share = self.app_state.share();
        let share = self.key_share(share);
        Ok(vec![self.peer_message(device, &share, directory)?])
    }

    /// Hands past chats to a companion; one stanza per chunk.
    pub fn history_sync(
        &mut self,
        device: u16,
        history: &[Conversation],
        directory: &mut dyn Directory,
    ) -> Result<Vec<Node>, PhoneError> {
        let named = |one: &Conversation| {
            let lid = Some(self.own.canonical(&one.chat, directory)).filter(Jid::is_lid)?;
            Some((self.own.number_of(&one.chat, directory)?, lid))
        };
        let names = history.iter().filter_map(named).collect();
        let header = history::Header { own: &self.own.pn, push_name: &self.push_name, names };
        let chunks = history::chunks(history, &header)?;
        chunks.iter().map(|chunk| self.peer_message(device, chunk, directory)).collect()
    }
}

fn shortened(push_name: &str) -> String {
    push_name.chars().take(MAX_PUSH_NAME).collect()
}
