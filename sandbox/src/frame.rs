//! From the byte stream of a client to frames.
//!
//! PROMISES: pure over bytes; frames may arrive split and joined in any way; no input panics; a frame or routing prefix
//! beyond its limit is refused before it fills memory.

use bytes::BytesMut;
use whatsapp_rust::wacore::noise::framing::FrameDecoder;
use whatsapp_rust::wacore_binary::consts::WA_CONN_HEADER;

/// Routing data a client may put in front of its first frame.
const MAX_ROUTING: usize = 4096;
const ROUTING_HEADER: [u8; 4] = *b"ED\x00\x01";
const LENGTH: usize = 3;

/// Why a byte stream cannot be one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// Neither `WA` nor routing data at the start.
    #[error("the stream does not begin with the connection header")]
    Header,
    /// Longer than allowed.
    #[error("a frame is too long")]
    TooLong,
}

/// Cuts one client's stream into frames.
pub struct Frames {
    decoder: FrameDecoder,
    /// Bytes of the connection header while it is incomplete; `None` once it was read.
    intro: Option<Vec<u8>>,
    limit: usize,
}

impl Frames {
    /// A decoder for a stream that has not begun, refusing frames over `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { decoder: FrameDecoder::new(), intro: Some(Vec::new()), limit }
    }

    /// Takes what arrived.
    ///
    /// # Errors
    /// The stream cannot be continued after an error.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), BadFrame> {
        let Some(intro) = &mut self.intro else {
            return self.push(bytes);
        };
        intro.extend_from_slice(bytes);
        let Some(skip) = intro_length(intro)? else { return Ok(()) };
        let rest = intro.split_off(skip);
        self.intro = None;
        self.push(&rest)
    }

    /// The next complete frame.
    pub fn next_frame(&mut self) -> Option<BytesMut> {
        self.decoder.decode_frame()
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), BadFrame> {
        // Complete frames are taken out after every feed, so what is buffered is one partial frame and this message.
        if self.decoder.buffered_len() + bytes.len() > self.limit.saturating_mul(2) {
            return Err(BadFrame::TooLong);
        }
        self.decoder.feed(bytes);
        Ok(())
    }
}

/// How many bytes the connection header takes, or `None` while that is not known.
fn intro_length(bytes: &[u8]) -> Result<Option<usize>, BadFrame> {
    let begins =
        |expected: &[u8], at: usize| bytes.iter().skip(at).zip(expected).all(|(have, want)| have == want);
    if begins(&WA_CONN_HEADER, 0) {
        return Ok((bytes.len() >= WA_CONN_HEADER.len()).then_some(WA_CONN_HEADER.len()));
    }
    if !begins(&ROUTING_HEADER, 0) {
        return Err(BadFrame::Header);
    }
    let Some([a, b, c]) = bytes.get(ROUTING_HEADER.len()..ROUTING_HEADER.len() + LENGTH) else {
        return Ok(None);
    };
    let routing = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
    if routing > MAX_ROUTING {
        return Err(BadFrame::TooLong);
    }
    let header = ROUTING_HEADER.len() + LENGTH + routing;
    if !begins(&WA_CONN_HEADER, header) {
        return Err(BadFrame::Header);
    }
    let end = header + WA_CONN_HEADER.len();
    Ok((bytes.len() >= end).then_some(end))
}

/// Reads all complete frames of a whole stream.
///
/// # Errors
/// As [`Frames::feed`].
pub fn decode(bytes: &[u8], limit: usize) -> Result<Vec<BytesMut>, BadFrame> {
    let mut frames = Frames::new(limit);
    frames.feed(bytes)?;
    Ok(std::iter::from_fn(|| frames.next_frame()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(prefix: &[u8]) -> Vec<u8> {
        let mut bytes = prefix.to_vec();
        bytes.extend_from_slice(&WA_CONN_HEADER);
        for body in [&b"one"[..], b"", b"three"] {
            bytes.extend_from_slice(&[0, 0, u8::try_from(body.len()).unwrap()]);
            bytes.extend_from_slice(body);
        }
        bytes
    }

    #[test]
    fn frames_cut_at_any_byte_come_out_whole() {
        for prefix in [&b""[..], b"ED\x00\x01\x00\x00\x02rr"] {
            let bytes = stream(prefix);
            for cut in 0..bytes.len() {
                let mut frames = Frames::new(64);
                let mut seen = Vec::new();
                for part in [&bytes[..cut], &bytes[cut..]] {
                    frames.feed(part).unwrap();
                    seen.extend(std::iter::from_fn(|| frames.next_frame()).map(|f| f.to_vec()));
                }
                assert_eq!(seen, [b"one".to_vec(), Vec::new(), b"three".to_vec()], "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_stream_of_something_else_is_refused_at_once() {
        assert_eq!(decode(b"GET /", 64), Err(BadFrame::Header));
        assert_eq!(decode(b"ED\x00\x01\xff\xff\xff", 64), Err(BadFrame::TooLong));
        assert_eq!(decode(b"ED\x00\x01\x00\x00\x01xHI", 64), Err(BadFrame::Header));
    }

    #[test]
    fn a_frame_that_never_ends_is_cut_off() {
        let mut frames = Frames::new(64);
        frames.feed(&WA_CONN_HEADER).unwrap();
        frames.feed(&[0xff, 0xff, 0xff]).unwrap();
        let end = (0..100).find_map(|_| frames.feed(&[0; 16]).err());
        assert_eq!(end, Some(BadFrame::TooLong));
    }
}
