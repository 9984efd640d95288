//! The sandbox's own trust root. PROMISES: one signed chain that every verifying client accepts once it trusts this
//! root (intermediate issued by serial 0, leaf issued by the intermediate's serial, leaf key = Noise static, valid
//! now), and the same keys after a restart when a data folder is given. The file is readable by its owner only.

use std::path::Path;

use serde::{Deserialize, Serialize};
use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::libsignal::protocol::{KeyPair, PrivateKey};
use whatsapp_rust::waproto::whatsapp::{
    CertChain,
    cert_chain::{NoiseCertificate, noise_certificate},
};

use crate::error::{Result, SandboxError};
use crate::store::{read_json, write_json};

const FILE: &str = "identity.json";
const INTERMEDIATE_SERIAL: u32 = 1;
const LEAF_SERIAL: u32 = 2;
/// 2020-09-13 and 2096-10-02: a sandbox chain outlives every sandbox.
const NOT_BEFORE: u64 = 1_600_000_000;
const NOT_AFTER: u64 = 4_000_000_000;

/// Root, Noise static and the chain between them.
pub(crate) struct Identity {
    static_private: [u8; 32],
    static_public: [u8; 32],
    root_public: [u8; 32],
    chain: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    root: String,
    intermediate: String,
    leaf: String,
}

impl Identity {
    /// Keys of `dir`, made there at the first start; fresh ones without a folder.
    pub(crate) fn load_or_create(dir: Option<&Path>) -> Result<Self> {
        let Some(path) = dir.map(|d| d.join(FILE)) else {
            return Self::from_private(&random_key()?, &random_key()?, &random_key()?);
        };
        if let Some(stored) = read_json::<Stored>(&path)? {
            return Self::from_private(
                &key_of(&stored.root)?,
                &key_of(&stored.intermediate)?,
                &key_of(&stored.leaf)?,
            );
        }
        let (root, intermediate, leaf) = (random_key()?, random_key()?, random_key()?);
        let stored = Stored { root: hex(&root), intermediate: hex(&intermediate), leaf: hex(&leaf) };
        write_json(&path, &stored)?;
        Self::from_private(&root, &intermediate, &leaf)
    }

    fn from_private(root: &[u8; 32], intermediate: &[u8; 32], leaf: &[u8; 32]) -> Result<Self> {
        let root = PrivateKey::deserialize(root).map_err(SandboxError::bug)?;
        let intermediate = PrivateKey::deserialize(intermediate).map_err(SandboxError::bug)?;
        let static_key = PrivateKey::deserialize(leaf).map_err(SandboxError::bug)?;
        let middle = certificate(&root, INTERMEDIATE_SERIAL, 0, public_of(&intermediate)?)?;
        let end = certificate(&intermediate, LEAF_SERIAL, INTERMEDIATE_SERIAL, public_of(&static_key)?)?;
        let chain = CertChain { leaf: MessageField::some(end), intermediate: MessageField::some(middle) };
        Ok(Self {
            static_private: *leaf,
            static_public: public_of(&static_key)?,
            root_public: public_of(&root)?,
            chain: chain.encode_to_vec(),
        })
    }

    pub(crate) fn static_private(&self) -> &[u8; 32] {
        &self.static_private
    }

    pub(crate) fn static_public(&self) -> &[u8; 32] {
        &self.static_public
    }

    pub(crate) fn root_public(&self) -> &[u8; 32] {
        &self.root_public
    }

    /// The encoded `CertChain` that goes into every server hello.
    pub(crate) fn chain(&self) -> &[u8] {
        &self.chain
    }
}

fn certificate(
    issuer: &PrivateKey,
    serial: u32,
    issuer_serial: u32,
    key: [u8; 32],
) -> Result<NoiseCertificate> {
    let details = noise_certificate::Details {
        serial: Some(serial),
        issuer_serial: Some(issuer_serial),
        key: Some(key.to_vec()),
        not_before: Some(NOT_BEFORE),
        not_after: Some(NOT_AFTER),
    }
    .encode_to_vec();
    let signature = issuer.calculate_signature(&details, &mut rand::rng()).map_err(SandboxError::bug)?;
    Ok(NoiseCertificate { details: Some(details), signature: Some(signature.to_vec()) })
}

fn public_of(key: &PrivateKey) -> Result<[u8; 32]> {
    let public = key.public_key().map_err(SandboxError::bug)?;
    <[u8; 32]>::try_from(public.public_key_bytes()).map_err(SandboxError::bug)
}

fn random_key() -> Result<[u8; 32]> {
    let pair = KeyPair::generate(&mut rand::rng());
    <[u8; 32]>::try_from(pair.private_key.serialize().as_slice()).map_err(SandboxError::bug)
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

fn key_of(text: &str) -> Result<[u8; 32]> {
    let wrong = || SandboxError::io(FILE, "a key is not 64 hexadecimal digits");
    if text.len() != 64 || !text.is_ascii() {
        return Err(wrong());
    }
    let mut key = [0u8; 32];
    for (byte, at) in key.iter_mut().zip((0..64).step_by(2)) {
        *byte = text.get(at..at + 2).and_then(|d| u8::from_str_radix(d, 16).ok()).ok_or_else(wrong)?;
    }
    Ok(key)
}
