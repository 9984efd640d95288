//! What a companion shows to be scanned. Promises to read it with or without the address that WhatsApp puts in front.

use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::error::PhoneError;

/// Longest text that is looked at; a real one has about 240 characters.
const MAX_TEXT: usize = 2_048;

/// A scanned code: `reference,noise key,identity key,adv secret,client type`.
#[derive(Clone, PartialEq, Eq)]
pub struct Qr {
    /// The reference that the server handed to the companion.
    pub reference: String,
    /// The companion's Noise static key.
    pub noise: [u8; 32],
    /// The companion's Signal identity key.
    pub identity: [u8; 32],
    /// The secret that proves to the companion that its own code was scanned.
    pub adv_secret: [u8; 32],
    /// What kind of client it says it is (absent in older forms).
    pub client_type: Option<String>,
}

impl FromStr for Qr {
    type Err = PhoneError;

    fn from_str(text: &str) -> Result<Self, PhoneError> {
        let text = text.trim();
        if text.len() > MAX_TEXT {
            return Err(PhoneError::Qr("too long"));
        }
        let code = match text.split_once('#') {
            Some((address, code)) if address.starts_with("http") => code,
            Some(_) | None => text,
        };
        let fields: Vec<&str> = code.split(',').collect();
        let [reference, noise, identity, secret, rest @ ..] = fields.as_slice() else {
            return Err(PhoneError::Qr("fields are missing"));
        };
        if reference.is_empty() {
            return Err(PhoneError::Qr("no reference"));
        }
        Ok(Self {
            reference: (*reference).to_owned(),
            noise: key(noise)?,
            identity: key(identity)?,
            adv_secret: key(secret)?,
            client_type: rest.first().map(|kind| (*kind).to_owned()),
        })
    }
}

fn key(field: &str) -> Result<[u8; 32], PhoneError> {
    let bytes = BASE64_STANDARD.decode(field).map_err(|_bad| PhoneError::Qr("not base64"))?;
    bytes.try_into().map_err(|_bad| PhoneError::Qr("a key has the wrong length"))
}
