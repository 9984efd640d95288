//! What a phone received, in clear, for whoever tests against it. PROMISES: bounded; a message that comes again raises
//! its `copies` instead of appearing twice; positions are absolute and rise for ever.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;

use crate::phone::Kind;

/// One message as the person holding the phone would see it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InboxMessage {
    /// Position in the inbox, from 1.
    pub seq: u64,
    /// The id its sender gave it.
    pub message_id: String,
    /// Sender, by phone number if known.
    pub from: String,
    /// Sender by LID, if known.
    pub from_lid: Option<String>,
    /// Device of the sender.
    pub from_device: u16,
    /// Conversation.
    pub chat: String,
    /// An own companion sent it.
    pub from_me: bool,
    /// What kind of message it is.
    pub kind: Kind,
    /// Text or caption.
    pub text: Option<String>,
    /// Id of the quoted message.
    pub quoted_id: Option<String>,
    /// Sender's push name.
    pub push_name: Option<String>,
    /// Seconds since 1970, by the server.
    pub timestamp: u64,
    /// Milliseconds since 1970 at which the phone had it in clear.
    pub received_at: u64,
    /// How many times it came.
    pub copies: u32,
}

/// A page of an inbox.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InboxPage {
    /// Different messages ever received from others.
    pub total: u64,
    /// Repeats of messages that were here before.
    pub repeats: u64,
    /// Messages that could not be decrypted.
    pub undecryptable: u64,
    /// Position to ask after next time.
    pub next: u64,
    /// The messages.
    pub messages: Vec<InboxMessage>,
}

/// The ring behind it.
pub(crate) struct Inbox {
    ring: VecDeque<InboxMessage>,
    /// (sender, id) to position, for what is in the ring.
    known: HashMap<(String, String), u64>,
    limit: usize,
    total: u64,
    repeats: u64,
    undecryptable: u64,
}

impl Inbox {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            ring: VecDeque::new(),
            known: HashMap::new(),
            limit: limit.max(1),
            total: 0,
            repeats: 0,
            undecryptable: 0,
        }
    }

    /// Adds a message (its `seq` and `copies` are set here), or counts it as a repeat.
    pub(crate) fn push(&mut self, mut message: InboxMessage) {
        let key = (message.from.clone(), message.message_id.clone());
        if let Some(seq) = self.known.get(&key) {
            self.repeats += 1;
            let first = self.ring.front().map_or(0, |m| m.seq);
            let at = usize::try_from(seq.saturating_sub(first)).unwrap_or(usize::MAX);
            if let Some(old) = self.ring.get_mut(at) {
                old.copies += 1;
            }
            return;
        }
        if self.ring.len() == self.limit
            && let Some(old) = self.ring.pop_front()
        {
            self.known.remove(&(old.from, old.message_id));
        }
        self.total += 1;
        message.seq = self.total;
        message.copies = 1;
        self.known.insert(key, message.seq);
        self.ring.push_back(message);
    }

    pub(crate) fn count_undecryptable(&mut self) {
        self.undecryptable += 1;
    }

    /// Up to `limit` messages after position `after`.
    pub(crate) fn page(&self, after: u64, limit: usize) -> InboxPage {
        let first = self.ring.front().map_or(0, |m| m.seq);
        let skip = usize::try_from((after + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        let messages: Vec<_> = self.ring.iter().skip(skip).take(limit).cloned().collect();
        InboxPage {
            total: self.total,
            repeats: self.repeats,
            undecryptable: self.undecryptable,
            next: messages.last().map_or(after, |m| m.seq),
            messages,
        }
    }

    /// Whether anything was said with the account that has these names, by either side.
    pub(crate) fn knows(&self, phone: &str, lid: &str) -> bool {
        let names = |one: &str| one == phone || one == lid;
        self.ring.iter().any(|m| names(&m.chat) || names(&m.from) || m.from_lid.as_deref().is_some_and(names))
    }

    /// Ids of the last messages of a conversation that others sent, newest last; for `read` without ids.
    pub(crate) fn ids_of(&self, chat: &str, limit: usize) -> Vec<String> {
        let mut ids: Vec<_> = self
            .ring
            .iter()
            .rev()
            .filter(|m| {
                !m.from_me && (m.chat == chat || m.from == chat || m.from_lid.as_deref() == Some(chat))
            })
            .take(limit)
            .map(|m| m.message_id.clone())
            .collect();
        ids.reverse();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str) -> InboxMessage {
        InboxMessage {
            seq: 0,
            message_id: id.into(),
            from: "a".into(),
            from_lid: None,
            from_device: 0,
            chat: "a".into(),
            from_me: false,
            kind: Kind::Text,
            text: None,
            quoted_id: None,
            push_name: None,
            timestamp: 0,
            received_at: 0,
            copies: 0,
        }
    }

    #[test]
    fn whoever_wrote_or_was_written_to_is_known() {
        let mut inbox = Inbox::new(3);
        assert!(!inbox.knows("a", "b"));
        inbox.push(InboxMessage { from_lid: Some("l".into()), chat: "c".into(), ..message("1") });
        for (phone, lid, known) in [("a", "x", true), ("x", "l", true), ("c", "x", true), ("x", "y", false)] {
            assert_eq!(inbox.knows(phone, lid), known, "{phone} {lid}");
        }
    }

    #[test]
    fn a_repeat_raises_copies_and_the_ring_forgets_the_oldest() {
        let mut inbox = Inbox::new(3);
        for id in ["1", "2", "2", "3", "4", "4"] {
            inbox.push(message(id));
        }
        let page = inbox.page(0, 10);
        let seen: Vec<_> = page.messages.iter().map(|m| (m.seq, m.message_id.as_str(), m.copies)).collect();
        assert_eq!(seen, [(2, "2", 2), (3, "3", 1), (4, "4", 2)]);
        assert_eq!((page.total, page.repeats, page.next), (4, 2, 4));
        assert_eq!(inbox.page(3, 10).messages.len(), 1);
        assert!(inbox.page(4, 10).messages.is_empty());
    }
}
