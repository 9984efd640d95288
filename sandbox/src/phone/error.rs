//! What can go wrong on a phone. Promises that no text here names a person: no number, no address, no key.

use thiserror::Error;
use whatsapp_rust::wacore::libsignal::protocol::{CurveError, SignalProtocolError};

/// Why a phone refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PhoneError {
    /// The text is not a QR code of a companion.
    #[error("not a WhatsApp linking code: {0}")]
    Qr(&'static str),
    /// As many companions are linked as the account may have.
    #[error("no further device can be linked")]
    TooManyDevices,
    /// No such companion (or no such offer).
    #[error("device {0} is not known to this phone")]
    UnknownDevice(u16),
    /// A companion's identity blob does not verify.
    #[error("device identity rejected: {0}")]
    DeviceIdentity(&'static str),
    /// The pairing code, or what came back for it, does not fit.
    #[error("pairing code: {0}")]
    PairCode(&'static str),
    /// The Signal layer refused.
    #[error("encryption: {0}")]
    Crypto(&'static str),
    /// Nobody could be addressed: the account is unknown or has no device with keys.
    #[error("the recipient has no device that can be written to")]
    NoRecipient,
    /// A stored phone cannot be brought back.
    #[error("snapshot: {0}")]
    Snapshot(&'static str),
    /// Bytes that should be a protocol buffer are not.
    #[error("undecodable {0}")]
    Undecodable(&'static str),
}

impl From<SignalProtocolError> for PhoneError {
    fn from(error: SignalProtocolError) -> Self {
        Self::Crypto(name_of(&error))
    }
}

impl From<CurveError> for PhoneError {
    fn from(_: CurveError) -> Self {
        Self::Crypto("bad key")
    }
}

/// A fixed name for a Signal error; its own text would carry the peer's address.
fn name_of(error: &SignalProtocolError) -> &'static str {
    use SignalProtocolError as E;
    let table = [
        (matches!(error, E::SessionNotFound(_) | E::NoSenderKeyState(_)), "no session"),
        (matches!(error, E::InvalidPreKeyId), "unknown one-time prekey"),
        (matches!(error, E::InvalidSignedPreKeyId), "unknown signed prekey"),
        (matches!(error, E::SignatureValidationFailed), "bad prekey signature"),
        (matches!(error, E::DuplicatedMessage(_, _)), "already decrypted"),
        (matches!(error, E::BadMac(_)), "bad MAC"),
        (matches!(error, E::InvalidMessage(_, _)), "invalid message"),
    ];
    table.into_iter().find(|(is, _)| *is).map_or("protocol error", |(_, name)| name)
}
