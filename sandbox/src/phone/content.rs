//! What a message says. Promises that whatever a client sends ends up as one of these kinds, with its text when it has
//! one, and that a reply names the message it answers.

use serde::{Deserialize, Serialize};
use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::wacore::proto_helpers::MessageExt;
use whatsapp_rust::wacore_binary::Jid;
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type as ProtocolType;

/// Kinds of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are WhatsApp's own words")]
pub enum Kind {
    Text,
    Image,
    Video,
    Audio,
    Document,
    Sticker,
    Location,
    Contact,
    Reaction,
    Edit,
    Revoke,
    Poll,
    PollVote,
    /// Between clients, nothing to see for people.
    Protocol,
    Other,
}

/// What was read out of a message.
pub(super) struct Content {
    pub(super) kind: Kind,
    pub(super) text: Option<String>,
    /// The message that this one answers.
    pub(super) quoted_id: Option<String>,
    /// The message that this one changes: reacted to, edited, revoked.
    pub(super) target_id: Option<String>,
}

/// Reads a decoded message.
pub(super) fn read(message: &wa::Message) -> Content {
    let base = message.get_base_message();
    let target = |key: &MessageField<wa::MessageKey>| key.as_option().and_then(|key| key.id.clone());
    if let Some(reaction) = base.reaction_message.as_option() {
        let target_id = target(&reaction.key);
        return Content { kind: Kind::Reaction, text: reaction.text.clone(), quoted_id: None, target_id };
    }
    if let Some(protocol) = base.protocol_message.as_option() {
        let (kind, text) = if protocol.r#type == Some(ProtocolType::REVOKE) {
            (Kind::Revoke, None)
        } else if protocol.r#type == Some(ProtocolType::MESSAGE_EDIT) {
            let edited = protocol.edited_message.as_option();
            (Kind::Edit, edited.and_then(|edited| text_of(edited.get_base_message())))
        } else {
            (Kind::Protocol, None)
        };
        return Content { kind, text, quoted_id: None, target_id: target(&protocol.key) };
    }
    Content { kind: kind_of(base), text: text_of(base), quoted_id: quoted_id(base), target_id: None }
}

fn text_of(base: &wa::Message) -> Option<String> {
    base.text_content().or_else(|| base.get_caption()).map(str::to_owned)
}

fn kind_of(base: &wa::Message) -> Kind {
    let table = [
        (base.conversation.is_some() || base.extended_text_message.is_set(), Kind::Text),
        (base.image_message.is_set(), Kind::Image),
        (base.video_message.is_set() || base.ptv_message.is_set(), Kind::Video),
        (base.audio_message.is_set(), Kind::Audio),
        (base.document_message.is_set(), Kind::Document),
        (base.sticker_message.is_set(), Kind::Sticker),
        (base.location_message.is_set() || base.live_location_message.is_set(), Kind::Location),
        (base.contact_message.is_set() || base.contacts_array_message.is_set(), Kind::Contact),
        (base.poll_update_message.is_set(), Kind::PollVote),
        (
            base.poll_creation_message.is_set()
                || base.poll_creation_message_v2.is_set()
                || base.poll_creation_message_v3.is_set()
                || base.poll_creation_message_v5.is_set(),
            Kind::Poll,
        ),
    ];
    table.into_iter().find(|(is, _)| *is).map_or(Kind::Other, |(_, kind)| kind)
}

fn quoted_id(base: &wa::Message) -> Option<String> {
    let contexts = [
        base.extended_text_message.as_option().map(|m| &m.context_info),
        base.image_message.as_option().map(|m| &m.context_info),
        base.video_message.as_option().map(|m| &m.context_info),
        base.audio_message.as_option().map(|m| &m.context_info),
        base.document_message.as_option().map(|m| &m.context_info),
        base.sticker_message.as_option().map(|m| &m.context_info),
        base.location_message.as_option().map(|m| &m.context_info),
        base.contact_message.as_option().map(|m| &m.context_info),
    ];
    contexts.into_iter().flatten().find_map(|context| context.as_option()?.stanza_id.clone())
}

/// A text that a person types.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// What it says.
    pub body: &'a str,
    /// Its id; `None` makes one like a phone's.
    pub id: Option<&'a str>,
    /// The message it answers.
    pub reply_to: Option<ReplyTo<'a>>,
}

impl<'a> Text<'a> {
    /// A plain text.
    pub fn new(body: &'a str) -> Self {
        Self { body, id: None, reply_to: None }
    }

    pub(super) fn to_message(self) -> wa::Message {
        let Some(reply) = self.reply_to else {
            return wa::Message { conversation: Some(self.body.to_owned()), ..Default::default() };
        };
        let quoted = wa::Message { conversation: Some(reply.body.to_owned()), ..Default::default() };
        let context = wa::ContextInfo {
            stanza_id: Some(reply.id.to_owned()),
            participant: Some(reply.sender.to_non_ad_string()),
            quoted_message: MessageField::some(quoted),
            ..Default::default()
        };
        let extended = wa::message::ExtendedTextMessage {
            text: Some(self.body.to_owned()),
            context_info: MessageField::some(context),
            ..Default::default()
        };
        wa::Message { extended_text_message: MessageField::some(extended), ..Default::default() }
    }
}

/// What a reply answers.
#[derive(Debug, Clone, Copy)]
pub struct ReplyTo<'a> {
    /// The id of that message.
    pub id: &'a str,
    /// Who wrote it.
    pub sender: &'a Jid,
    /// Its text, shown above the reply.
    pub body: &'a str,
}
