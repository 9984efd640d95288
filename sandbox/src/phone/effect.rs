//! What follows from a stanza, and the small types around it. Promises to say everything in terms of people and
//! messages, so that a server needs to know nothing about encryption.

use whatsapp_rust::wacore_binary::{Jid, Node};

use super::content::Kind;

/// What the server has to do, or may want to know.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Put this stanza on the wire as device 0.
    Send(Node),
    /// A message was read.
    Received(Box<Received>),
    /// Somebody's receipt about our messages; `kind` is the stanza's `type`, `delivered` when it has none.
    Receipt {
        /// The stanza's `type`.
        kind: String,
        /// Whose receipt (bare).
        from: Jid,
        /// Which messages.
        ids: Vec<String>,
    },
    /// A message could not be read; unless `gave_up`, a request to send it again follows.
    Undecryptable {
        /// Its id.
        id: String,
        /// Its sender (bare).
        from: Jid,
        /// How often it failed so far.
        attempt: u8,
        /// Whether the phone does not ask again.
        gave_up: bool,
    },
    /// Somebody types or stops.
    ChatState {
        /// Who (bare).
        from: Jid,
        /// Whether they type or record.
        composing: bool,
    },
    /// Somebody came or went.
    Presence {
        /// Who (bare).
        from: Jid,
        /// Whether they are there.
        available: bool,
    },
}

/// A message that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its id.
    pub id: String,
    /// The author's number, when known.
    pub from_pn: Option<Jid>,
    /// The author's LID, when known.
    pub from_lid: Option<Jid>,
    /// The device that wrote it.
    pub from_device: u16,
    /// The conversation (bare; by number when known), also when one of our own companions wrote.
    pub chat: Jid,
    /// Written by this account itself, on a companion.
    pub from_me: bool,
    /// What it says. Also absent when exactly the same ciphertext came again.
    pub text: Option<String>,
    /// The message it answers.
    pub quoted_id: Option<String>,
    /// The message it reacts to, edits or revokes.
    pub target_id: Option<String>,
    /// What kind of message it is.
    pub kind: Kind,
    /// The name the author goes by.
    pub push_name: Option<String>,
    /// Unix seconds.
    pub timestamp: u64,
    /// How often (author, id) came before; 0 the first time.
    pub repeats: u32,
}

/// A message that was received, for a receipt about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRef {
    /// Its id.
    pub id: String,
    /// The conversation.
    pub chat: Jid,
    /// Its author.
    pub sender: Jid,
}

impl From<&Received> for MessageRef {
    fn from(received: &Received) -> Self {
        let author = received.from_pn.as_ref().or(received.from_lid.as_ref());
        Self {
            id: received.id.clone(),
            chat: received.chat.clone(),
            sender: author.unwrap_or(&received.chat).clone(),
        }
    }
}

/// Receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptKind {
    /// It arrived (sent by the phone itself).
    Delivered,
    /// It was read.
    Read,
    /// It was listened to or watched.
    Played,
}

impl ReceiptKind {
    pub(super) fn wire(self) -> Option<&'static str> {
        match self {
            Self::Delivered => None,
            Self::Read => Some("read"),
            Self::Played => Some("played"),
        }
    }
}

/// What somebody does in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatState {
    /// Types.
    Composing,
    /// Records a voice note.
    Recording,
    /// Stopped.
    Paused,
}
