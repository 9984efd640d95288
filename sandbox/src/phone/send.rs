//! Writing. Promises that a message is encrypted once per device: for every device of the recipient, and, wrapped as
//! "sent from another device", for every companion of our own.

use rand::RngExt;
use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::wacore::adv::{AdvValidation, validate_adv_with_identity_key};
use whatsapp_rust::wacore::messages::{DmPlaintexts, MessageUtils};
use whatsapp_rust::wacore::send::{media_type_from_message, stanza_type_from_message};
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Jid, Node};
use whatsapp_rust::waproto::codec::message_to_vec;
use whatsapp_rust::waproto::whatsapp as wa;

use super::addressing::session_of;
use super::content::Text;
use super::directory::{Directory, PeerBundle};
use super::error::PhoneError;
use super::sent::Written;
use super::{ChatState, MessageRef, Phone, ReceiptKind};

/// A message on its way.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its id.
    pub id: String,
    /// The stanza to put on the wire as device 0.
    pub stanza: Node,
}

impl Phone {
    /// Writes a text.
    pub fn send_text(
        &mut self,
        to: &Jid,
        text: &Text<'_>,
        directory: &mut dyn Directory,
    ) -> Result<Sent, PhoneError> {
        self.send(to, text.id, &text.to_message(), directory)
    }

    /// Writes anything. `id`: `None` makes one like a phone's.
    pub fn send(
        &mut self,
        to: &Jid,
        id: Option<&str>,
        message: &wa::Message,
        directory: &mut dyn Directory,
    ) -> Result<Sent, PhoneError> {
        let to = self.own.canonical(&to.to_non_ad(), directory);
        let id = id.map_or_else(|| self.new_id(), str::to_owned);
        let kind = stanza_type_from_message(message);
        let plain = MessageUtils::encode_dm_plaintexts(message, None, &to);
        let media = media_type_from_message(message);
        let participants = self.fan_out(&to, &plain, media, directory);
        if participants.is_empty() {
            return Err(PhoneError::NoRecipient);
        }
        let written = Written {
            id: id.clone(),
            to: to.to_string(),
            kind: kind.to_owned(),
            peer: false,
            content: message_to_vec(message),
        };
        self.sent.keep(written);
        let stanza = NodeBuilder::new("message")
            .attr("to", &to)
            .attr("id", id.as_str())
            .attr("type", kind)
            .children([NodeBuilder::new("participants").children(participants).build()])
            .build();
        Ok(Sent { id, stanza })
    }

    fn fan_out(
        &mut self,
        to: &Jid,
        plain: &DmPlaintexts,
        media: Option<&'static str>,
        directory: &mut dyn Directory,
    ) -> Vec<Node> {
        let mut participants = Vec::new();
        if !self.own.is(to) {
            for id in directory.devices(to) {
                participants.extend(self.participant(
                    &to.with_device(id),
                    &plain.recipient,
                    media,
                    directory,
                ));
            }
            if participants.is_empty() {
                return participants;
            }
        }
        let companions: Vec<u16> = self.companions.linked().map(|one| one.device).collect();
        for id in companions {
            let device = self.own.lid.with_device(id);
            participants.extend(self.participant(&device, &plain.own_devices, media, directory));
        }
        participants
    }

    /// `<to jid><enc/></to>`, or nothing when the device has no keys to write to.
    fn participant(
        &mut self,
        device: &Jid,
        plaintext: &[u8],
        media: Option<&'static str>,
        directory: &mut dyn Directory,
    ) -> Option<Node> {
        let (kind, sealed) = self.seal(device, plaintext, directory).ok()?;
        let mut enc = NodeBuilder::new("enc").attr("v", "2").attr("type", kind);
        if let Some(media) = media {
            enc = enc.attr("mediatype", media);
        }
        let enc = enc.bytes(sealed).build();
        Some(NodeBuilder::new("to").attr("jid", device).children([enc]).build())
    }

    /// Encrypts for one device, starting a session with it if there is none.
    pub(super) fn seal(
        &mut self,
        device: &Jid,
        plaintext: &[u8],
        directory: &mut dyn Directory,
    ) -> Result<(&'static str, Vec<u8>), PhoneError> {
        let session = session_of(device);
        if !self.vault.has_session(&session) {
            let bundle = directory.bundle(device).ok_or(PhoneError::NoRecipient)?;
            self.start_session(device, &bundle)?;
        }
        self.vault.encrypt(&session, plaintext)
    }

    pub(super) fn start_session(&mut self, device: &Jid, bundle: &PeerBundle) -> Result<(), PhoneError> {
        if device.device != 0
            && let Some(blob) = &bundle.device_identity
            && validate_adv_with_identity_key(blob, &bundle.identity, None) == AdvValidation::Invalid
        {
            return Err(PhoneError::DeviceIdentity("a peer's companion is not signed by its account"));
        }
        self.vault.start_session(&session_of(device), bundle)
    }

    /// A message to one of our own companions that no person sees.
    pub(super) fn peer_message(
        &mut self,
        device: u16,
        message: &wa::Message,
        directory: &mut dyn Directory,
    ) -> Result<Node, PhoneError> {
        let id = self.new_id();
        let content = message_to_vec(message);
        let device = self.own.lid.with_device(device);
        let padded = MessageUtils::pad_with_context_from_encoded(&content, None);
        let (kind, sealed) = self.seal(&device, &padded, directory)?;
        self.sent.keep(Written {
            id: id.clone(),
            to: self.own.lid.to_string(),
            kind: "text".to_owned(),
            peer: true,
            content,
        });
        let enc = NodeBuilder::new("enc").attr("v", "2").attr("type", kind).bytes(sealed).build();
        Ok(NodeBuilder::new("message")
            .attr("to", device)
            .attr("id", id)
            .attr("type", "text")
            .attr("category", "peer")
            .attr("push_priority", "high_force")
            .children([NodeBuilder::new("meta").attr("appdata", "default").build(), enc])
            .build())
    }

    pub(super) fn key_share(&mut self, share: wa::message::AppStateSyncKeyShare) -> wa::Message {
        let protocol = wa::message::ProtocolMessage {
            r#type: Some(wa::message::protocol_message::Type::APP_STATE_SYNC_KEY_SHARE),
            app_state_sync_key_share: MessageField::some(share),
            ..Default::default()
        };
        wa::Message { protocol_message: MessageField::some(protocol), ..Default::default() }
    }

    /// A receipt that a person causes (`read`, `played`) for a message this phone received.
    pub fn receipt(&self, kind: ReceiptKind, of: &MessageRef, directory: &dyn Directory) -> Node {
        let chat = self.own.canonical(&of.chat.to_non_ad(), directory);
        let mut receipt = NodeBuilder::new("receipt")
            .attr("to", &chat)
            .attr("id", of.id.as_str())
            .attr("t", directory.now());
        if let Some(wire) = kind.wire() {
            receipt = receipt.attr("type", wire);
        }
        if !chat.is_pn() && !chat.is_lid() {
            receipt = receipt.attr("participant", self.own.canonical(&of.sender.to_non_ad(), directory));
        }
        receipt.build()
    }

    /// Typing, recording, or neither.
    pub fn chatstate(&self, to: &Jid, state: ChatState, directory: &dyn Directory) -> Node {
        let child = match state {
            ChatState::Composing => NodeBuilder::new("composing"),
            ChatState::Recording => NodeBuilder::new("composing").attr("media", "audio"),
            ChatState::Paused => NodeBuilder::new("paused"),
        };
        NodeBuilder::new("chatstate")
            .attr("to", self.own.canonical(&to.to_non_ad(), directory))
            .children([child.build()])
            .build()
    }

    /// Online or not.
    pub fn presence(&self, available: bool) -> Node {
        NodeBuilder::new("presence")
            .attr("type", if available { "available" } else { "unavailable" })
            .attr("name", self.push_name.as_str())
            .build()
    }

    /// Ids of phones look like `3A` and 18 hex digits.
    pub(super) fn new_id(&mut self) -> String {
        let random: [u8; 9] = self.vault.rng.random();
        random.iter().fold(String::from("3A"), |mut id, byte| {
            for digit in [byte >> 4, byte & 0x0f] {
                id.push(char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase());
            }
            id
        })
    }
}
