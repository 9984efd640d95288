//! Reading. Promises that every message that can be decrypted is reported (a repeat as a repeat), that the sender always
//! gets an answer (a receipt, or a request to send again), and that no input makes the phone fail.

use whatsapp_rust::wacore::libsignal::protocol::SignalProtocolError;
use whatsapp_rust::wacore::messages::{
    decode_plaintext, is_sender_key_distribution_only, unwrap_device_sent,
};
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Jid, Node};
use whatsapp_rust::waproto::whatsapp as wa;

use super::content::{Content, Kind, read};
use super::directory::Directory;
use super::seen::fingerprint;
use super::stanza::{bytes_of, jid, number, text};
use super::vault::Cipher;
use super::{Effect, Phone, Received};

/// What the outside of a message says.
pub(super) struct Envelope {
    pub(super) id: String,
    /// As it came; answers go there.
    pub(super) from: Jid,
    /// The device that wrote it, canonical.
    pub(super) sender: Jid,
    /// The chat of a message that one of our own companions wrote.
    pub(super) recipient: Option<Jid>,
    /// A group or list, if it came through one.
    pub(super) group: bool,
    pub(super) peer: bool,
    pub(super) own: bool,
    pub(super) timestamp: u64,
    push_name: Option<String>,
}

impl Phone {
    /// Takes a stanza as the server writes it to a device's socket, and gives what follows from it.
    pub fn receive(&mut self, stanza: &Node, directory: &mut dyn Directory) -> Vec<Effect> {
        match stanza.tag.as_ref() {
            "message" => self.on_message(stanza, directory),
            "receipt" => self.on_receipt(stanza, directory),
            "chatstate" => self.on_chatstate(stanza, directory).into_iter().collect(),
            "presence" => self.on_presence(stanza, directory).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn envelope(&self, stanza: &Node, directory: &dyn Directory) -> Option<Envelope> {
        let from = jid(stanza, "from")?;
        let id = text(stanza, "id")?.into_owned();
        let group = !from.is_pn() && !from.is_lid();
        let author = if group { jid(stanza, "participant")? } else { from.clone() };
        Some(Envelope {
            id,
            own: self.own.is(&author),
            sender: self.own.canonical(&author, directory),
            from,
            recipient: jid(stanza, "recipient"),
            group,
            peer: text(stanza, "category").as_deref() == Some("peer"),
            timestamp: number(stanza, "t").unwrap_or_else(|| directory.now()),
            push_name: text(stanza, "notify").map(std::borrow::Cow::into_owned),
        })
    }

    fn on_message(&mut self, stanza: &Node, directory: &mut dyn Directory) -> Vec<Effect> {
        let Some(envelope) = self.envelope(stanza, directory) else { return Vec::new() };
        let mut effects = Vec::new();
        for enc in stanza.get_children_by_tag("enc") {
            let cipher = text(enc, "type").and_then(|kind| Cipher::from_wire(&kind));
            let (Some(cipher), Some(sealed)) = (cipher, bytes_of(enc)) else {
                effects.push(Effect::Undecryptable {
                    id: envelope.id.clone(),
                    from: self.own.shown(&envelope.sender, directory),
                    attempt: 0,
                    gave_up: true,
                });
                continue;
            };
            let version = number(enc, "v").and_then(|v| u8::try_from(v).ok()).unwrap_or(2);
            match self.vault.decrypt((&envelope.from, &envelope.sender), cipher, sealed) {
                Ok(plaintext) => self.on_plaintext(&envelope, (&plaintext, version), directory, &mut effects),
                Err(error) => {
                    // One request brings the whole message again, whatever the other parts are.
                    self.on_failure(&envelope, &error, directory, &mut effects);
                    break;
                }
            }
        }
        effects
    }

    fn on_plaintext(
        &mut self,
        envelope: &Envelope,
        (plaintext, version): (&[u8], u8),
        directory: &mut dyn Directory,
        effects: &mut Vec<Effect>,
    ) {
        let Ok(message) = decode_plaintext(plaintext, version) else {
            effects.push(Effect::Undecryptable {
                id: envelope.id.clone(),
                from: self.own.shown(&envelope.sender, directory),
                attempt: 0,
                gave_up: true,
            });
            return;
        };
        let destination =
            message.device_sent_message.as_option().and_then(|sent| sent.destination_jid.clone());
        let mut message = unwrap_device_sent(message);
        if let Some(key) = message.sender_key_distribution_message.as_option()
            && let Some(announced) = &key.axolotl_sender_key_distribution_message
        {
            // A bad key shows in the message that it should open, which is then asked for again.
            self.vault.learn_sender_key(&envelope.from, &envelope.sender, announced).unwrap_or_default();
        }
        if is_sender_key_distribution_only(&mut message) {
            return;
        }
        if envelope.own && self.on_own_protocol(envelope, &message, directory, effects) {
            effects.push(Effect::Send(delivered(envelope)));
            return;
        }
        let chat = destination.and_then(|to| to.parse().ok()).or_else(|| envelope.recipient.clone());
        let content = read(&message);
        let received = self.received(envelope, chat.filter(|_| envelope.own), content, directory);
        effects.push(Effect::Received(Box::new(received)));
        effects.push(Effect::Send(delivered(envelope)));
    }

    fn received(
        &mut self,
        envelope: &Envelope,
        chat: Option<Jid>,
        content: Content,
        directory: &dyn Directory,
    ) -> Received {
        let sender = &envelope.sender;
        let chat = match chat {
            Some(chat) => self.own.shown(&chat, directory),
            None if envelope.group => envelope.from.clone(),
            None => self.own.shown(sender, directory),
        };
        Received {
            repeats: self.seen.note(fingerprint(sender, &envelope.id)),
            id: envelope.id.clone(),
            from_pn: self.own.number_of(sender, directory),
            from_lid: sender.is_lid().then(|| sender.to_non_ad()),
            from_device: sender.device,
            chat,
            from_me: envelope.own,
            text: content.text,
            quoted_id: content.quoted_id,
            target_id: content.target_id,
            kind: content.kind,
            push_name: envelope.push_name.clone(),
            timestamp: envelope.timestamp,
        }
    }

    /// What our own devices ask of the phone; true when that is all the message was for.
    fn on_own_protocol(
        &mut self,
        envelope: &Envelope,
        message: &wa::Message,
        directory: &mut dyn Directory,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(protocol) = message.protocol_message.as_option() else { return false };
        if let Some(request) = protocol.app_state_sync_key_request.as_option() {
            let answer = self.app_state.answer(&request.key_ids);
            let answer = self.key_share(answer);
            let answer = self.peer_message(envelope.sender.device, &answer, directory);
            effects.extend(answer.ok().map(Effect::Send));
            return true;
        }
        envelope.peer
    }

    fn on_failure(
        &mut self,
        envelope: &Envelope,
        error: &SignalProtocolError,
        directory: &dyn Directory,
        effects: &mut Vec<Effect>,
    ) {
        let known = self.seen.contains(fingerprint(&envelope.sender, &envelope.id));
        if known && matches!(error, SignalProtocolError::DuplicatedMessage(_, _)) {
            // The very same ciphertext again: its text is known to whoever read the first one.
            let nothing = Content { kind: Kind::Other, text: None, quoted_id: None, target_id: None };
            let again = self.received(envelope, envelope.recipient.clone(), nothing, directory);
            effects.push(Effect::Received(Box::new(again)));
            effects.push(Effect::Send(delivered(envelope)));
            return;
        }
        let (attempt, request) = self.ask_again(envelope, error, directory);
        effects.push(Effect::Undecryptable {
            id: envelope.id.clone(),
            from: self.own.shown(&envelope.sender, directory),
            attempt,
            gave_up: request.is_none(),
        });
        effects.extend(request.map(Effect::Send));
    }

    fn on_receipt(&mut self, stanza: &Node, directory: &mut dyn Directory) -> Vec<Effect> {
        let kind = text(stanza, "type").map_or_else(|| "delivered".to_owned(), std::borrow::Cow::into_owned);
        if kind == "retry" {
            return self.write_again(stanza, directory).into_iter().map(Effect::Send).collect();
        }
        let (Some(from), Some(id)) = (jid(stanza, "from"), text(stanza, "id")) else { return Vec::new() };
        let author = jid(stanza, "participant").unwrap_or(from);
        let mut ids = vec![id.into_owned()];
        if let Some(list) = stanza.get_optional_child("list") {
            let more = list.get_children_by_tag("item").filter_map(|item| text(item, "id"));
            ids.extend(more.map(std::borrow::Cow::into_owned));
        }
        vec![Effect::Receipt { kind, from: self.own.shown(&author, directory), ids }]
    }

    fn on_chatstate(&self, stanza: &Node, directory: &dyn Directory) -> Option<Effect> {
        let from = self.own.shown(&jid(stanza, "from")?, directory);
        Some(Effect::ChatState { from, composing: stanza.get_optional_child("composing").is_some() })
    }

    fn on_presence(&self, stanza: &Node, directory: &dyn Directory) -> Option<Effect> {
        let from = self.own.shown(&jid(stanza, "from")?, directory);
        let available = text(stanza, "type").as_deref() != Some("unavailable");
        Some(Effect::Presence { from, available })
    }
}

/// The receipt that a message arrived; it is also what takes the message off the server's queue.
fn delivered(envelope: &Envelope) -> Node {
    let mut receipt = NodeBuilder::new("receipt").attr("to", &envelope.from).attr("id", envelope.id.as_str());
    if envelope.peer {
        receipt = receipt.attr("type", "peer_msg");
    } else if envelope.own {
        receipt = receipt.attr("type", "sender");
        if let Some(recipient) = &envelope.recipient {
            receipt = receipt.attr("recipient", recipient.to_non_ad());
        }
    }
    if envelope.group {
        receipt = receipt.attr("participant", &envelope.sender);
    }
    receipt.build()
}
