//! Messages that could not be read. Promises that a phone asks for them again at most [`MAX_RETRY_COUNT`] times with
//! fresh keys each time, and writes its own ones again, for the one device that asks, when they were meant for it.

use whatsapp_rust::wacore::iq::prekeys::{OneTimePreKeyNode, SignedPreKeyNode};
use whatsapp_rust::wacore::libsignal::protocol::SignalProtocolError;
use whatsapp_rust::wacore::messages::MessageUtils;
use whatsapp_rust::wacore::protocol::ProtocolNode as _;
use whatsapp_rust::wacore::protocol::retry::{
    MAX_RETRY_COUNT, RetryReason, extract_registration_id_from_node,
};
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Jid, Node};

use super::Phone;
use super::addressing::session_of;
use super::directory::{Directory, OneTimePreKey, PeerBundle, SignedPreKey};
use super::receive::Envelope;
use super::seen::fingerprint;
use super::sent::Written;
use super::stanza::{bytes_of, jid, number, text};

fn reason(error: &SignalProtocolError) -> RetryReason {
    use SignalProtocolError as E;
    let table = [
        (matches!(error, E::SessionNotFound(_) | E::NoSenderKeyState(_)), RetryReason::NoSession),
        (matches!(error, E::InvalidPreKeyId | E::InvalidSignedPreKeyId), RetryReason::InvalidKeyId),
        (matches!(error, E::BadMac(_)), RetryReason::BadMac),
        (matches!(error, E::InvalidMessage(_, _)), RetryReason::InvalidMessage),
        (matches!(error, E::InvalidSessionStructure(_)), RetryReason::InvalidSession),
    ];
    table.into_iter().find(|(is, _)| *is).map_or(RetryReason::UnknownError, |(_, reason)| reason)
}

impl Phone {
    /// The request to send a message again, and the how-manyeth it is; `None` after the last attempt.
    pub(super) fn ask_again(
        &mut self,
        envelope: &Envelope,
        error: &SignalProtocolError,
        directory: &dyn Directory,
    ) -> (u8, Option<Node>) {
        let asked = self.asked.note(fingerprint(&envelope.sender, &envelope.id));
        let attempt = u8::try_from(asked).unwrap_or(u8::MAX).saturating_add(1);
        if attempt > MAX_RETRY_COUNT {
            return (attempt, None);
        }
        let mut retry = NodeBuilder::new("retry")
            .attr("v", "1")
            .attr("id", envelope.id.as_str())
            .attr("t", envelope.timestamp.max(1).min(directory.now().max(1)))
            .attr("count", attempt);
        let reason = reason(error);
        if reason != RetryReason::UnknownError {
            // The wire number of the reason is its discriminant.
            retry = retry.attr("error", reason as u8);
        }
        let mut receipt = NodeBuilder::new("receipt")
            .attr("to", &envelope.from)
            .attr("id", envelope.id.as_str())
            .attr("type", "retry");
        if envelope.group {
            receipt = receipt.attr("participant", &envelope.sender);
        } else if envelope.own && envelope.peer {
            receipt = receipt.attr("category", "peer");
        } else if envelope.own {
            receipt = receipt.attr("recipient", envelope.recipient.as_ref().unwrap_or(&envelope.from));
        }
        let registration = self.vault.registration_id().to_be_bytes().to_vec();
        let registration = NodeBuilder::new("registration").bytes(registration).build();
        (attempt, Some(receipt.children([retry.build(), registration, self.keys_node()]).build()))
    }

    /// Our keys inside a retry receipt, so that the sender needs no second question to the server.
    fn keys_node(&mut self) -> Node {
        let signed = self.vault.signed_prekey();
        let mut parts = vec![
            NodeBuilder::new("type").bytes(vec![5]).build(),
            NodeBuilder::new("identity").bytes(self.vault.identity_public().to_vec()).build(),
        ];
        for one in self.vault.mint_prekeys(1) {
            parts.push(OneTimePreKeyNode::new(one.id, one.public.to_vec()).into_node());
        }
        parts.push(SignedPreKeyNode::new(signed.id, signed.public.to_vec(), signed.signature).into_node());
        NodeBuilder::new("keys").children(parts).build()
    }

    /// Answers a retry receipt with the message, encrypted anew for that device only.
    pub(super) fn write_again(&mut self, receipt: &Node, directory: &mut dyn Directory) -> Option<Node> {
        let retry = receipt.get_optional_child("retry")?;
        let count = number(retry, "count").and_then(|count| u8::try_from(count).ok()).unwrap_or(1);
        if count >= MAX_RETRY_COUNT {
            return None;
        }
        let id = text(retry, "id").or_else(|| text(receipt, "id"))?.into_owned();
        let from = jid(receipt, "from")?;
        let device =
            self.own.canonical(&jid(receipt, "participant").unwrap_or_else(|| from.clone()), directory);
        let written = self.sent.find(&id)?.clone();
        let to: Jid = written.to.parse().ok()?;
        let own = self.own.is(&device);
        if !own && !device.is_same_chat_as(&to) {
            return None;
        }
        self.renew_session(receipt, &device, directory)?;
        let plaintext = if own && !written.peer {
            MessageUtils::dm_plaintexts_from_encoded(&written.content, None, &to).own_devices
        } else {
            MessageUtils::pad_with_context_from_encoded(&written.content, None)
        };
        let sealed = self.seal(&device, &plaintext, directory).ok()?;
        Some(resend(&written, (&from, own.then_some(&to)), count, sealed))
    }

    /// A device that cannot read us gets a new session: from the keys it sent along, else from the server's.
    fn renew_session(&mut self, receipt: &Node, device: &Jid, directory: &mut dyn Directory) -> Option<()> {
        let bundle = match receipt.get_optional_child("keys") {
            Some(keys) => bundle_in(receipt, keys)?,
            None => directory.bundle(device)?,
        };
        self.vault.forget(&session_of(device));
        self.start_session(device, &bundle).ok()
    }
}

fn resend(
    written: &Written,
    (to, recipient): (&Jid, Option<&Jid>),
    count: u8,
    (kind, sealed): (&'static str, Vec<u8>),
) -> Node {
    let enc = NodeBuilder::new("enc").attr("v", "2").attr("type", kind).attr("count", count);
    let mut stanza = NodeBuilder::new("message")
        .attr("to", to)
        .attr("id", written.id.as_str())
        .attr("type", written.kind.as_str());
    if written.peer {
        stanza = stanza.attr("category", "peer");
    } else if let Some(recipient) = recipient {
        stanza = stanza.attr("recipient", recipient);
    }
    stanza.children([enc.bytes(sealed).build()]).build()
}

/// The key bundle inside a retry receipt.
fn bundle_in(receipt: &Node, keys: &Node) -> Option<PeerBundle> {
    let prekey = match keys.get_optional_child("key") {
        Some(key) => {
            let key = OneTimePreKeyNode::try_from_node(key).ok()?;
            Some(OneTimePreKey { id: key.id, public: key.public_bytes.try_into().ok()? })
        }
        None => None,
    };
    let signed = SignedPreKeyNode::try_from_node(keys.get_optional_child("skey")?).ok()?;
    Some(PeerBundle {
        registration_id: extract_registration_id_from_node(receipt)?,
        identity: bytes_of(keys.get_optional_child("identity")?)?.try_into().ok()?,
        signed_prekey: SignedPreKey {
            id: signed.id,
            public: signed.public_bytes.try_into().ok()?,
            signature: signed.signature,
        },
        prekey,
        device_identity: keys.get_optional_child("device-identity").and_then(bytes_of).map(<[u8]>::to_vec),
    })
}
