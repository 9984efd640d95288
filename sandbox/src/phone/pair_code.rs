//! Linking by a code that the user types on the phone. Promises the key agreement of the real protocol: only the
//! companion that showed the code can end up linked, and the server in between never learns the code.

use whatsapp_rust::wacore::crypto::hkdf_sha256_into;
use whatsapp_rust::wacore::libsignal::crypto::aes_256_gcm_decrypt;
use whatsapp_rust::wacore::libsignal::protocol::{KeyPair, PublicKey};
use whatsapp_rust::wacore::pair_code::PairCodeUtils;
use whatsapp_rust::wacore_binary::Node;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::error::PhoneError;
use super::stanza::bytes_of;
use super::vault::{Vault, raw};

/// `salt 32 ‖ iv 12 ‖ (companion identity 32 ‖ primary identity 32 ‖ random 32) ‖ tag 16`.
const WRAPPED_BUNDLE: usize = 32 + 12 + 96 + 16;
/// A pairing reference is a short opaque token.
const MAX_REFERENCE: usize = 1_024;

/// The slow half of typing a code (two key derivations of 131,072 rounds each); pure, so it can run on any thread.
#[derive(Clone)]
pub struct PreparedPairCode {
    companion_ephemeral: [u8; 32],
    ours: KeyPair,
    wrapped: [u8; 80],
    reference: Vec<u8>,
}

impl PreparedPairCode {
    /// `wrapped` is what the companion sent in `companion_hello` (80 bytes), `reference` what the server answered.
    /// A mistyped code cannot be noticed here: it only leads to keys that do not fit.
    pub fn derive(code: &str, wrapped: &[u8], reference: &[u8]) -> Result<Self, PhoneError> {
        let code: String = code.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
        if !PairCodeUtils::validate_code(&code) {
            return Err(PhoneError::PairCode("eight letters and digits are needed"));
        }
        if reference.len() > MAX_REFERENCE {
            return Err(PhoneError::PairCode("reference too long"));
        }
        let code = code.to_ascii_uppercase();
        // The cipher is symmetric and salted by the sender, so the companion's key opens like a primary's.
        let companion_ephemeral = PairCodeUtils::decrypt_primary_ephemeral_pub(wrapped, &code)
            .map_err(|_bad| PhoneError::PairCode("malformed companion key"))?;
        let ours = KeyPair::generate(&mut rand::make_rng::<rand::rngs::StdRng>());
        let wrapped = PairCodeUtils::encrypt_ephemeral_pub(&raw(&ours.public_key), &code);
        Ok(Self { companion_ephemeral, ours, wrapped, reference: reference.to_vec() })
    }
}

/// What the phone tells the companion after the code was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryHello {
    /// Our ephemeral key, wrapped with the code (80 bytes).
    pub wrapped_primary_ephemeral: Vec<u8>,
    /// Our identity key.
    pub primary_identity: [u8; 32],
    /// The server's reference, echoed.
    pub pairing_ref: Vec<u8>,
}

impl PrimaryHello {
    /// The child of `<notification type="link_code_companion_reg">`.
    pub fn to_node(&self) -> Node {
        let part = |tag, bytes: &[u8]| NodeBuilder::new(tag).bytes(bytes.to_vec()).build();
        NodeBuilder::new("link_code_companion_reg")
            .attr("stage", "primary_hello")
            .children([
                part("link_code_pairing_wrapped_primary_ephemeral_pub", &self.wrapped_primary_ephemeral),
                part("primary_identity_pub", &self.primary_identity),
                part("link_code_pairing_ref", &self.pairing_ref),
            ])
            .build()
    }
}

/// What the companion answers.
#[derive(Debug, Clone, Copy)]
pub struct CompanionFinish<'a> {
    /// `<link_code_pairing_wrapped_key_bundle>`.
    pub wrapped_bundle: &'a [u8],
    /// `<companion_identity_public>`.
    pub companion_identity: &'a [u8],
    /// `<link_code_pairing_ref>`.
    pub pairing_ref: &'a [u8],
}

impl<'a> CompanionFinish<'a> {
    /// Reads `<link_code_companion_reg stage="companion_finish">`.
    pub fn from_node(node: &'a Node) -> Result<Self, PhoneError> {
        let part = |tag| {
            let child = node.get_optional_child(tag).and_then(bytes_of);
            child.ok_or(PhoneError::PairCode("companion_finish is incomplete"))
        };
        Ok(Self {
            wrapped_bundle: part("link_code_pairing_wrapped_key_bundle")?,
            companion_identity: part("companion_identity_public")?,
            pairing_ref: part("link_code_pairing_ref")?,
        })
    }
}

/// A code that was typed and not answered yet.
pub(super) struct TypedCode(PreparedPairCode);

impl TypedCode {
    pub(super) fn begin(prepared: PreparedPairCode, account: [u8; 32]) -> (Self, PrimaryHello) {
        let hello = PrimaryHello {
            wrapped_primary_ephemeral: prepared.wrapped.to_vec(),
            primary_identity: account,
            pairing_ref: prepared.reference.clone(),
        };
        (Self(prepared), hello)
    }

    /// The companion's identity and the secret both sides now share.
    pub(super) fn finish(
        &self,
        finish: &CompanionFinish<'_>,
        vault: &Vault,
    ) -> Result<([u8; 32], [u8; 32]), PhoneError> {
        let bad = PhoneError::PairCode;
        if finish.pairing_ref != self.0.reference {
            return Err(bad("another pairing reference"));
        }
        if finish.wrapped_bundle.len() != WRAPPED_BUNDLE {
            return Err(bad("bundle has the wrong length"));
        }
        let identity: [u8; 32] =
            finish.companion_identity.try_into().map_err(|_len| bad("identity has the wrong length"))?;
        let theirs = PublicKey::from_djb_public_key_bytes(&self.0.companion_ephemeral)?;
        let ephemeral = self.0.ours.private_key.calculate_agreement(&theirs)?;
        let random = open_bundle(finish.wrapped_bundle, &ephemeral, &identity, &vault.identity_public())?;
        let theirs = PublicKey::from_djb_public_key_bytes(&identity)?;
        let long_term = vault.identity().private_key().calculate_agreement(&theirs)?;
        let mut secret = [0; 32];
        let material = [ephemeral.as_slice(), &long_term, &random].concat();
        hkdf_sha256_into(&material, None, b"adv_secret", &mut secret).map_err(|_len| bad("derivation"))?;
        Ok((identity, secret))
    }
}

/// Opens the key bundle and gives its random part, after checking that it names these two identities.
fn open_bundle(
    wrapped: &[u8],
    ephemeral: &[u8; 32],
    companion: &[u8; 32],
    account: &[u8; 32],
) -> Result<[u8; 32], PhoneError> {
    let bad = PhoneError::PairCode;
    let (salt, rest) = wrapped.split_at(32);
    let (iv, sealed) = rest.split_at(12);
    let iv: [u8; 12] = iv.try_into().map_err(|_len| bad("bundle"))?;
    let mut key = [0; 32];
    let info = b"link_code_pairing_key_bundle_encryption_key";
    hkdf_sha256_into(ephemeral, Some(salt), info, &mut key).map_err(|_len| bad("derivation"))?;
    let mut bundle = Vec::with_capacity(96);
    aes_256_gcm_decrypt(&key, &iv, b"", sealed, &mut bundle).map_err(|_tag| bad("the code was wrong"))?;
    let (named, random) = bundle.split_at_checked(64).ok_or_else(|| bad("bundle"))?;
    if named != [companion.as_slice(), account].concat() {
        return Err(bad("the bundle names other identities"));
    }
    random.try_into().map_err(|_len| bad("bundle"))
}
