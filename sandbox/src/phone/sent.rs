//! What a phone wrote lately, so that it can write it again when a device could not read it. Promises at most
//! [`MAX_KEPT`] messages and [`MAX_BYTES`] bytes; the oldest go first.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::base64_serde as b64;

const MAX_KEPT: usize = 2048;
const MAX_BYTES: usize = 1024 * 1024;
/// Larger ones (history) are not kept: one would push out all the others.
const MAX_ONE: usize = MAX_BYTES / 4;

/// One message as it was before encryption.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) id: String,
    /// Canonical recipient; for peer messages our own account.
    pub(super) to: String,
    /// `type` of the stanza.
    pub(super) kind: String,
    /// Between own devices only (`category="peer"`).
    pub(super) peer: bool,
    /// The encoded message, without padding.
    #[serde(with = "b64")]
    pub(super) content: Vec<u8>,
}

/// The last messages, oldest first.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Sent {
    kept: VecDeque<Written>,
    bytes: usize,
}

impl Sent {
    pub(super) fn keep(&mut self, written: Written) {
        if written.content.len() > MAX_ONE {
            return;
        }
        self.bytes += written.content.len();
        self.kept.push_back(written);
        while self.kept.len() > MAX_KEPT || self.bytes > MAX_BYTES {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.content.len();
        }
    }

    pub(super) fn find(&self, id: &str) -> Option<&Written> {
        self.kept.iter().rev().find(|written| written.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_messages_make_room_by_number_and_by_size() {
        let one = |id: usize, size: usize| Written {
            id: id.to_string(),
            to: String::new(),
            kind: "text".into(),
            peer: false,
            content: vec![0; size],
        };
        let mut sent = Sent::default();
        for n in 0..=MAX_KEPT {
            sent.keep(one(n, 1));
        }
        assert!(sent.find("0").is_none());
        assert!(sent.find("1").is_some());
        for n in 9_000..9_004 {
            sent.keep(one(n, MAX_ONE));
        }
        assert!(sent.find("1").is_none(), "pushed out by size");
        assert!(sent.find("9003").is_some());
        sent.keep(one(9_999, MAX_ONE + 1));
        assert!(sent.find("9999").is_none(), "too large to be kept");
        assert!(sent.bytes <= MAX_BYTES);
    }
}
