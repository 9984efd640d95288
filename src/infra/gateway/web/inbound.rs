//! From the engine's messages to ours.

use whatsapp_rust::Jid;
use whatsapp_rust::wacore::proto_helpers::MessageExt;
use whatsapp_rust::wacore::types::events::InboundMessage as Engine;
use whatsapp_rust::wacore::types::message::{MessageCategory, MessageInfo};
use whatsapp_rust::waproto::whatsapp::Message;
use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type as Protocol;

use crate::domain::address::{Address, Server};
use crate::domain::content::Content;
use crate::domain::ids::WaId;
use crate::domain::message::Direction;
use crate::domain::time::Timestamp;
use crate::domain::write::InboundMessage;

/// The message as we keep it, or `None` for what devices say among themselves.
pub(super) fn translate(received: &Engine) -> Option<InboundMessage> {
    let info = &received.info;
    if info.category == MessageCategory::Peer {
        return None;
    }
    let content = content(received.message.get_base_message())?;
    let (chat_pn, chat_lid) = chat(info);
    let (sender_pn, sender_lid) = pair(&info.source.sender, info.source.sender_alt.as_ref());
    Some(InboundMessage {
        wa_id: WaId(info.id.clone()),
        chat_pn,
        chat_lid,
        sender_pn,
        sender_lid,
        direction: if info.source.is_from_me { Direction::Out } else { Direction::In },
        push_name: Some(info.push_name.clone()).filter(|name| !name.is_empty()),
        content,
        sent_at: Timestamp(info.timestamp.timestamp_millis()),
    })
}

fn content(message: &Message) -> Option<Content> {
    if let Some(text) = message.conversation.as_ref().filter(|text| !text.is_empty()) {
        return Some(Content::Text { text: text.clone(), reply_to: None });
    }
    if let Some(extended) = message.extended_text_message.as_option()
        && let Some(text) = extended.text.as_ref().filter(|text| !text.is_empty())
    {
        let quoted = extended.context_info.as_option().and_then(|context| context.stanza_id.clone());
        let fine =
            |id: &String| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        return Some(Content::Text { text: text.clone(), reply_to: quoted.filter(fine) });
    }
    let kind = match message.protocol_message.as_option() {
        Some(protocol) if protocol.r#type == Some(Protocol::REVOKE) => "revoke",
        Some(protocol) if protocol.r#type == Some(Protocol::MESSAGE_EDIT) => "edit",
        // Keys, settings, history: between devices, not between people.
        Some(_) => return None,
        None => kind(message),
    };
    Some(Content::Unsupported { kind: kind.to_owned() })
}

/// What a message is, in a word.
fn kind(message: &Message) -> &'static str {
    let polls = [
        &message.poll_creation_message,
        &message.poll_creation_message_v2,
        &message.poll_creation_message_v3,
    ];
    let kinds = [
        (message.image_message.is_set(), "image"),
        (message.video_message.is_set() || message.ptv_message.is_set(), "video"),
        (message.audio_message.is_set(), "audio"),
        (message.document_message.is_set(), "document"),
        (message.sticker_message.is_set() || message.lottie_sticker_message.is_set(), "sticker"),
        (message.reaction_message.is_set() || message.enc_reaction_message.is_set(), "reaction"),
        (message.location_message.is_set(), "location"),
        (message.live_location_message.is_set(), "live_location"),
        (message.contact_message.is_set() || message.contacts_array_message.is_set(), "contact"),
        (polls.iter().any(|poll| poll.is_set()), "poll"),
        (message.poll_update_message.is_set(), "poll_vote"),
        (message.edited_message.is_set() || message.secret_encrypted_message.is_set(), "edit"),
        (message.pin_in_chat_message.is_set(), "pin"),
        (message.keep_in_chat_message.is_set(), "keep"),
        (message.group_invite_message.is_set(), "group_invite"),
        (message.event_message.is_set(), "event"),
        (message.buttons_message.is_set() || message.buttons_response_message.is_set(), "buttons"),
        (message.list_message.is_set() || message.list_response_message.is_set(), "list"),
        (message.template_message.is_set() || message.template_button_reply_message.is_set(), "template"),
        (
            message.interactive_message.is_set() || message.interactive_response_message.is_set(),
            "interactive",
        ),
        (message.order_message.is_set() || message.product_message.is_set(), "commerce"),
        (message.album_message.is_set(), "album"),
        (message.comment_message.is_set() || message.enc_comment_message.is_set(), "comment"),
        (message.extended_text_message.is_set() || message.conversation.is_some(), "empty_text"),
        (message.placeholder_message.is_set(), "placeholder"),
    ];
    kinds.iter().find(|(is, _)| *is).map_or("unknown", |(_, kind)| kind)
}

/// By which addresses the conversation is known.
fn chat(info: &MessageInfo) -> (Option<Address>, Option<Address>) {
    let source = &info.source;
    if source.is_group {
        return (address(&source.chat), None);
    }
    // What we wrote on another device goes to the recipient; what others wrote comes from the sender.
    let other = if source.is_from_me {
        source.recipient_alt.as_ref().or(info.peer_recipient_pn.as_ref())
    } else {
        source.sender_alt.as_ref()
    };
    pair(&source.chat, other)
}

/// One person's two addresses, whichever came first.
fn pair(one: &Jid, other: Option<&Jid>) -> (Option<Address>, Option<Address>) {
    let mut both = (None, None);
    for address in [other.and_then(address), address(one)].into_iter().flatten() {
        match address.server() {
            Server::Lid => both.1 = Some(address),
            Server::Phone | Server::Group | Server::Newsletter | Server::Broadcast => both.0 = Some(address),
        }
    }
    both
}

/// Our form of an engine's address; hosted devices are the same people.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the engine's list grows; what we do not know is no address of ours"
)]
pub(super) fn address(jid: &Jid) -> Option<Address> {
    use whatsapp_rust::Server as Engine;
    let server = match jid.server {
        Engine::Hosted | Engine::Legacy => Engine::Pn,
        Engine::HostedLid => Engine::Lid,
        known => known,
    };
    format!("{}@{}", jid.user_base(), server.as_str()).parse().ok()
}
