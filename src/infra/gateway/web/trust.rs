//! Whom a session trusts to be WhatsApp.
//!
//! What it promises: a session of the real WhatsApp trusts the certificate chain and nothing else. A sandbox session
//! trusts one pinned key and nothing else: the engine then opens with Noise IK, where the server proves that it holds
//! the key, and a wrong one fails closed. Nothing in the binary is weakened for it, and [`boot_check`] proves that.

use whatsapp_rust::Jid;
use whatsapp_rust::buffa::{Message, MessageField};
use whatsapp_rust::wacore::handshake::HandshakeUtils;
use whatsapp_rust::wacore::store::{CachedNoiseCert, CachedServerCertChain, Device};
use whatsapp_rust::waproto::whatsapp::CertChain;
use whatsapp_rust::waproto::whatsapp::cert_chain::NoiseCertificate;
use whatsapp_rust::waproto::whatsapp::cert_chain::noise_certificate::Details;

use crate::domain::error::{Error, Result};

/// Stands for the phone number of a device that is not linked yet: the engine opens with IK only when it has one.
const UNLINKED: &str = "0";

/// The 32 bytes behind 64 hex digits.
///
/// # Errors
/// `Invalid`, naming the field.
pub(super) fn parse_key(hex: &str) -> Result<[u8; 32]> {
    let refuse = || Error::invalid("endpoint.staticKey", "invalid_endpoint", "must be 64 hex digits");
    if hex.len() != 64 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(refuse());
    }
    let mut key = [0; 32];
    for (byte, at) in key.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&hex[at..at + 2], 16).map_err(|_checked| refuse())?;
    }
    Ok(key)
}

/// Makes a sandbox session's device trust this key alone.
pub(super) fn pin(device: &mut Device, key: [u8; 32]) {
    let cert = CachedNoiseCert { key, not_before: 0, not_after: i64::MAX };
    device.server_cert_chain = Some(CachedServerCertChain { intermediate: cert.clone(), leaf: cert });
    if device.pn.is_none() {
        device.pn = Some(Jid::pn(UNLINKED));
    }
}

/// The device without what [`pin`] put in.
pub(super) fn unpinned(device: &Device) -> Device {
    let mut device = device.clone();
    device.server_cert_chain = None;
    if device.pn.as_ref().is_some_and(|pn| pn.user == UNLINKED) {
        device.pn = None;
    }
    device
}

/// Proves that the engine in this binary still refuses a certificate chain that nobody signed. Cargo unifies
/// features: one crate that turns verification off would turn it off for all.
///
/// # Errors
/// `Bug`: verification is off, the process must not start.
pub fn boot_check() -> Result<()> {
    let (chain, key) = unsigned_chain();
    match HandshakeUtils::verify_server_cert(&chain, &key) {
        Ok(_accepted) => {
            Err(Error::bug("this build accepts unsigned WhatsApp certificates and must not run"))
        }
        Err(_refused) => Ok(()),
    }
}

/// A chain that is right in all but its signatures.
fn unsigned_chain() -> (Vec<u8>, [u8; 32]) {
    let key = [9; 32];
    let certificate = |serial, issuer, key: [u8; 32]| {
        let details = Details {
            serial: Some(serial),
            issuer_serial: Some(issuer),
            key: Some(key.to_vec()),
            not_before: Some(0),
            not_after: Some(u64::from(u32::MAX)),
        };
        let details = Some(details.encode_to_vec());
        MessageField::some(NoiseCertificate { details, signature: Some(vec![0; 64]) })
    };
    let chain = CertChain { intermediate: certificate(1, 0, [8; 32]), leaf: certificate(2, 1, key) };
    (chain.encode_to_vec(), key)
}

/// Whether this is the number of a linked device.
pub(super) fn is_linked(pn: Option<&Jid>) -> bool {
    pn.is_some_and(|pn| pn.user != UNLINKED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_build_refuses_a_chain_that_nobody_signed() {
        boot_check().unwrap();
        let (chain, key) = unsigned_chain();
        let refusal = HandshakeUtils::verify_server_cert(&chain, &key).unwrap_err().to_string();
        assert!(refusal.contains("XEdDSA"), "refused for its signature, not its form: {refusal}");
    }

    #[test]
    fn a_pin_is_never_at_rest() {
        let mut device = Device::new();
        let before = serde_json::to_value(&device).unwrap();
        pin(&mut device, [7; 32]);
        assert!(device.is_registered());
        assert_ne!(serde_json::to_value(&device).unwrap(), before);
        assert_eq!(serde_json::to_value(unpinned(&device)).unwrap(), before);
    }

    #[test]
    fn a_linked_device_keeps_its_number_through_a_pin() {
        let mut device = Device::new();
        device.pn = Some("15550100199:3@s.whatsapp.net".parse().unwrap());
        pin(&mut device, [7; 32]);
        assert_eq!(unpinned(&device).pn.unwrap().user, "15550100199");
    }

    #[test]
    fn only_64_hex_digits_are_a_key() {
        assert_eq!(parse_key(&"0f".repeat(32)).unwrap(), [15; 32]);
        for bad in ["", "0f", &"0g".repeat(32), &"0f".repeat(33)] {
            assert!(parse_key(bad).is_err(), "{bad}");
        }
    }
}
