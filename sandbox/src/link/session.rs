//! Encrypted stanzas over a wire. PROMISES: frames are numbered as Noise wants it; several stanzas leave in one write.

use bytes::BytesMut;
use whatsapp_rust::wacore::noise::NoiseCipher;
use whatsapp_rust::wacore::noise::framing::append_frame_into;
use whatsapp_rust::wacore_binary::marshal::marshal_to_vec;
use whatsapp_rust::wacore_binary::{Node, OwnedNodeRef};

use super::wire::{Ended, Wire};
use crate::stanza;

/// A write buffer that grew beyond this is not kept.
const KEEP: usize = 256 * 1024;
/// Longest piece when output is cut up on purpose.
const PIECE: usize = 97;

pub(super) struct Session {
    wire: Wire,
    write: NoiseCipher,
    read: NoiseCipher,
    written: u32,
    seen: u32,
    plain: Vec<u8>,
    out: BytesMut,
}

impl Session {
    pub(super) fn new(wire: Wire, write: NoiseCipher, read: NoiseCipher) -> Self {
        Self { wire, write, read, written: 0, seen: 0, plain: Vec::new(), out: BytesMut::new() }
    }

    /// The next stanza that is here already.
    pub(super) fn next_frame(&mut self) -> Result<Option<OwnedNodeRef>, Ended> {
        let Some(mut frame) = self.wire.next_frame() else { return Ok(None) };
        self.read.decrypt_in_place_with_counter(self.seen, &mut frame).map_err(|_cause| Ended)?;
        self.seen = self.seen.checked_add(1).ok_or(Ended)?;
        stanza::decode(frame).map(Some).map_err(|_cause| Ended)
    }

    pub(super) async fn read_more(&mut self) -> Result<(), Ended> {
        self.wire.read_more().await
    }

    pub(super) fn poll_more(&mut self) -> Result<bool, Ended> {
        self.wire.poll_more()
    }

    /// Encrypts a stanza for the next flush.
    pub(super) fn put(&mut self, node: &Node) -> Result<(), Ended> {
        self.plain.clear();
        marshal_to_vec(node, &mut self.plain).map_err(|_cause| Ended)?;
        self.write.encrypt_in_place_with_counter(self.written, &mut self.plain).map_err(|_cause| Ended)?;
        self.written = self.written.checked_add(1).ok_or(Ended)?;
        append_frame_into(&self.plain, None, &mut self.out).map_err(|_cause| Ended)
    }

    /// Writes what was put; cut into pieces if asked.
    pub(super) async fn flush(&mut self, split: bool) -> Result<(), Ended> {
        if self.plain.capacity() > KEEP {
            self.plain = Vec::new();
        }
        let mut bytes = self.out.split().freeze();
        if self.out.capacity() > KEEP {
            self.out = BytesMut::new();
        }
        while split && !bytes.is_empty() {
            let piece = rand::random_range(1..=PIECE.min(bytes.len()));
            self.wire.write(bytes.split_to(piece)).await?;
        }
        if bytes.is_empty() { Ok(()) } else { self.wire.write(bytes).await }
    }

    /// Writes one stanza now.
    pub(super) async fn send(&mut self, node: &Node, split: bool) -> Result<(), Ended> {
        self.put(node)?;
        self.flush(split).await
    }

    pub(super) async fn close(&mut self) {
        self.wire.close().await;
    }
}
