//! Encrypting and decrypting one message. Promises that a failed decryption leaves the session as it was.

use futures_util::FutureExt;
use whatsapp_rust::wacore::libsignal::protocol::{
    CiphertextMessage, PreKeyBundle, PreKeySignalMessage, ProtocolAddress, PublicKey, SignalMessage,
    SignalProtocolError, UsePQRatchet, message_decrypt, message_encrypt, process_prekey_bundle,
};
use whatsapp_rust::wacore_binary::Jid;

use super::super::addressing::session_of;
use super::super::directory::PeerBundle;
use super::super::error::PhoneError;
use super::Vault;

/// What an `<enc>` holds for one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Cipher {
    /// First messages of a session.
    PreKey,
    /// All others between two devices.
    Whisper,
    /// To a group or list, with the author's sender key.
    SenderKey,
}

impl Cipher {
    pub(in super::super) fn from_wire(kind: &str) -> Option<Self> {
        match kind {
            "pkmsg" => Some(Self::PreKey),
            "msg" => Some(Self::Whisper),
            "skmsg" => Some(Self::SenderKey),
            _ => None,
        }
    }
}

/// All stores answer at once; a future that does not is a bug of this module, never a reason to hang.
pub(super) const STALLED: SignalProtocolError =
    SignalProtocolError::InvalidSessionStructure("a store did not answer");

impl Vault {
    /// Encrypts for a device with which a session exists; gives the `type` of the `<enc>` and its bytes.
    pub(in super::super) fn encrypt(
        &mut self,
        peer: &ProtocolAddress,
        plaintext: &[u8],
    ) -> Result<(&'static str, Vec<u8>), PhoneError> {
        let sealed = message_encrypt(plaintext, peer, &mut self.sessions, &mut self.identity)
            .now_or_never()
            .unwrap_or(Err(STALLED))?;
        let kind = if matches!(sealed, CiphertextMessage::PreKeySignalMessage(_)) { "pkmsg" } else { "msg" };
        Ok((kind, sealed.serialize().to_vec()))
    }

    /// Decrypts what `author` (canonical, with its device) wrote into `chat`.
    pub(in super::super) fn decrypt(
        &mut self,
        (chat, author): (&Jid, &Jid),
        cipher: Cipher,
        sealed: &[u8],
    ) -> Result<Vec<u8>, SignalProtocolError> {
        let parsed = match cipher {
            Cipher::PreKey => CiphertextMessage::PreKeySignalMessage(PreKeySignalMessage::try_from(sealed)?),
            Cipher::Whisper => CiphertextMessage::SignalMessage(SignalMessage::try_from(sealed)?),
            Cipher::SenderKey => return self.decrypt_group(chat, author, sealed),
        };
        let opened = message_decrypt(
            &parsed,
            &session_of(author),
            &mut self.sessions,
            &mut self.identity,
            &mut self.prekeys,
            &self.signed,
            &mut self.rng,
            UsePQRatchet::No,
        )
        .now_or_never()
        .unwrap_or(Err(STALLED))?;
        if let Some(id) = opened.consumed_prekey_id {
            self.prekeys.consume(id.into());
        }
        Ok(opened.plaintext)
    }

    /// Starts (or replaces) the session with a device from its published keys.
    pub(in super::super) fn start_session(
        &mut self,
        peer: &ProtocolAddress,
        bundle: &PeerBundle,
    ) -> Result<(), PhoneError> {
        let key = |raw: &[u8]| PublicKey::from_djb_public_key_bytes(raw);
        let prekey = match &bundle.prekey {
            Some(one) => Some((one.id.into(), key(&one.public)?)),
            None => None,
        };
        let bundle = PreKeyBundle::new(
            bundle.registration_id,
            0.into(),
            prekey,
            bundle.signed_prekey.id.into(),
            key(&bundle.signed_prekey.public)?,
            bundle.signed_prekey.signature.clone(),
            key(&bundle.identity)?.into(),
        )?;
        let started = process_prekey_bundle(
            peer,
            &mut self.sessions,
            &mut self.identity,
            &bundle,
            &mut self.rng,
            UsePQRatchet::No,
        );
        started.now_or_never().unwrap_or(Err(STALLED))?;
        Ok(())
    }
}
