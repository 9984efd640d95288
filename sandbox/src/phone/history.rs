//! Chats that a phone hands to a new companion. Promises chunks of at most [`CHUNK`] messages, each small enough for one
//! stanza, that together hold every message once.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore_binary::Jid;
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::waproto::whatsapp::history_sync::HistorySyncType;
use whatsapp_rust::waproto::whatsapp::message::HistorySyncType as Announced;

use super::error::PhoneError;

/// Messages per chunk.
pub const CHUNK: usize = 500;
/// Messages that one call may hand over.
const MAX_MESSAGES: usize = 50_000;

/// One chat of the past.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// With whom.
    pub chat: Jid,
    /// How the phone's owner calls them.
    pub name: Option<String>,
    /// Oldest first.
    pub messages: Vec<PastMessage>,
}

/// One message of the past.
#[derive(Debug, Clone)]
pub struct PastMessage {
    /// Its id.
    pub id: String,
    /// Written by this account.
    pub from_me: bool,
    /// What it says.
    pub text: String,
    /// Unix seconds.
    pub timestamp: u64,
}

/// What every chunk also carries.
pub(super) struct Header<'a> {
    pub(super) own: &'a Jid,
    pub(super) push_name: &'a str,
    /// (number, LID) of the chats.
    pub(super) names: Vec<(Jid, Jid)>,
}

/// Cuts, encodes and compresses; gives the messages that announce and carry the chunks.
pub(super) fn chunks(history: &[Conversation], header: &Header<'_>) -> Result<Vec<wa::Message>, PhoneError> {
    let cut = cut(history);
    let total = cut.len().max(1);
    cut.into_iter()
        .enumerate()
        .map(|(order, conversations)| {
            let progress = u32::try_from((order + 1) * 100 / total).unwrap_or(100);
            let order = u32::try_from(order).unwrap_or(u32::MAX);
            let (kind, announced) = if order == 0 {
                (HistorySyncType::INITIAL_BOOTSTRAP, Announced::INITIAL_BOOTSTRAP)
            } else {
                (HistorySyncType::RECENT, Announced::RECENT)
            };
            let sync = encode(kind, (order, progress), conversations, header);
            carrier(announced, (order, progress), &sync.encode_to_vec())
        })
        .collect()
}

fn encode(
    sync_type: HistorySyncType,
    (order, progress): (u32, u32),
    conversations: Vec<wa::Conversation>,
    header: &Header<'_>,
) -> wa::HistorySync {
    let own =
        wa::Pushname { id: Some(header.own.to_non_ad_string()), pushname: Some(header.push_name.to_owned()) };
    let mapping = |(pn, lid): &(Jid, Jid)| wa::PhoneNumberToLIDMapping {
        pn_jid: Some(pn.to_non_ad_string()),
        lid_jid: Some(lid.to_non_ad_string()),
    };
    wa::HistorySync {
        sync_type,
        conversations,
        chunk_order: Some(order),
        progress: Some(progress),
        pushnames: vec![own],
        phone_number_to_lid_mappings: header.names.iter().map(mapping).collect(),
        ..Default::default()
    }
}

fn carrier(
    sync_type: Announced,
    (order, progress): (u32, u32),
    sync: &[u8],
) -> Result<wa::Message, PhoneError> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    let compressed = zlib.write_all(sync).and_then(|()| zlib.finish());
    let compressed = compressed.map_err(|_io| PhoneError::Undecodable("history"))?;
    let notification = wa::message::HistorySyncNotification {
        sync_type: Some(sync_type),
        chunk_order: Some(order),
        progress: Some(progress),
        file_length: u64::try_from(compressed.len()).ok(),
        initial_hist_bootstrap_inline_payload: Some(compressed),
        ..Default::default()
    };
    let protocol = wa::message::ProtocolMessage {
        r#type: Some(wa::message::protocol_message::Type::HISTORY_SYNC_NOTIFICATION),
        history_sync_notification: MessageField::some(notification),
        ..Default::default()
    };
    Ok(wa::Message { protocol_message: MessageField::some(protocol), ..Default::default() })
}

/// Conversations in chunks of [`CHUNK`] messages; a long chat continues in the next chunk. At least one chunk, so that
/// a companion of an empty phone also learns that there is nothing.
fn cut(history: &[Conversation]) -> Vec<Vec<wa::Conversation>> {
    let mut chunks = vec![Vec::new()];
    let (mut room, mut left) = (CHUNK, MAX_MESSAGES);
    for conversation in history {
        let chat = conversation.chat.to_non_ad_string();
        let mut rest = conversation.messages.as_slice();
        while !rest.is_empty() && left > 0 {
            if room == 0 {
                chunks.push(Vec::new());
                room = CHUNK;
            }
            let (now, later) = rest.split_at(rest.len().min(room).min(left));
            room -= now.len();
            left -= now.len();
            rest = later;
            if let Some(chunk) = chunks.last_mut() {
                chunk.push(part(&chat, conversation.name.as_deref(), now));
            }
        }
    }
    chunks
}

fn part(chat: &str, name: Option<&str>, messages: &[PastMessage]) -> wa::Conversation {
    let last = messages.last().map(|message| message.timestamp);
    let one = |message: &PastMessage| {
        let key = wa::MessageKey {
            remote_jid: Some(chat.to_owned()),
            from_me: Some(message.from_me),
            id: Some(message.id.clone()),
            participant: None,
        };
        let text = wa::Message { conversation: Some(message.text.clone()), ..Default::default() };
        let info = wa::WebMessageInfo {
            key: MessageField::some(key),
            message: MessageField::some(text),
            message_timestamp: Some(message.timestamp),
            ..Default::default()
        };
        wa::HistorySyncMsg { message: MessageField::some(info), ..Default::default() }
    };
    wa::Conversation {
        id: chat.to_owned(),
        messages: messages.iter().map(one).collect(),
        last_msg_timestamp: last,
        conversation_timestamp: last,
        name: name.map(str::to_owned),
        end_of_history_transfer: Some(true),
        ..Default::default()
    }
}
