//! What the fuzzers run: each takes any bytes, must never panic, and checks what must hold beyond that. It answers
//! whether the bytes were accepted.
#![allow(dead_code, reason = "each fuzzer uses one of them")]

use bytes::BytesMut;
use recado::domain::content::{Content, TEXT_LIMIT};
use recado::domain::event::Event;
use recado_sandbox::{frame, stanza};

/// Cutting a byte stream into frames: the pieces it arrives in make no difference.
pub fn frame(data: &[u8]) -> bool {
    // A tight limit: nothing but that it holds.
    drop(frame::decode(data, 64));
    let limit = data.len();
    let whole = frame::decode(data, limit);
    let step = 1 + usize::from(data.last().copied().unwrap_or_default()) % 7;
    let mut frames = frame::Frames::new(limit);
    let mut pieces = Vec::new();
    for piece in data.chunks(step) {
        if let Err(refusal) = frames.feed(piece) {
            assert_eq!(whole, Err(refusal), "refused in pieces of {step} only");
            return false;
        }
        pieces.extend(std::iter::from_fn(|| frames.next_frame()));
    }
    assert_eq!(whole.as_ref(), Ok(&pieces), "other frames in pieces of {step}");
    !pieces.is_empty()
}

/// Reading a stanza.
pub fn stanza(data: &[u8]) -> bool {
    stanza::decode(BytesMut::from(data)).is_ok_and(|node| {
        let node = node.to_owned_node();
        !node.tag.is_empty()
    })
}

/// A message's content: what passes the check is stored and read back as it was, and stays small in an event.
pub fn content(data: &[u8]) -> bool {
    if let Ok(text) = std::str::from_utf8(data) {
        let stored = Content::stored(text);
        assert!(stored.preview().len() <= 256, "a preview is too long");
    }
    let Ok(content) = serde_json::from_slice::<Content>(data) else { return false };
    if content.check().is_err() {
        return false;
    }
    let Content::Text { text, .. } = &content else { panic!("only texts can be sent") };
    assert!((1..=TEXT_LIMIT).contains(&text.len()), "a text of {} bytes was accepted", text.len());
    let json = serde_json::to_string(&content).expect("content is JSON");
    assert_eq!(Content::stored(&json), content, "the store changes it");
    assert!(
        content.preview().len() <= 256 && text.starts_with(content.preview()),
        "not a preview of the text"
    );
    let shown = content.for_event();
    let shown = shown["text"].as_str().expect("the event shows the text");
    assert!(text.starts_with(shown) && !shown.is_empty(), "the event shows another text");
    true
}

/// An event's envelope: what is read is written and read back as it was.
pub fn event(data: &[u8]) -> bool {
    let Ok(event) = serde_json::from_slice::<Event>(data) else { return false };
    let json = serde_json::to_vec(&event).expect("an event is JSON");
    let mut again: Event = serde_json::from_slice(&json).expect("what was written is read");
    // The last digit of a float may change on its way; everything else may not.
    again.data = event.data.clone();
    assert_eq!(again, event, "the envelope changes on its way");
    true
}
