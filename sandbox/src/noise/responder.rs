//! The Noise responder, without any socket. PROMISES: XX, IK, and XX-fallback when an IK hello was meant for another
//! static key; the peer's static key and login payload come out only if every authentication tag was right.

use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::libsignal::protocol::KeyPair;
use whatsapp_rust::wacore::noise::{NoiseCipher, NoiseHandshake};
use whatsapp_rust::wacore_binary::consts::{
    NOISE_PATTERN_IK, NOISE_PATTERN_XX, NOISE_PATTERN_XXFALLBACK, WA_CONN_HEADER,
};
use whatsapp_rust::waproto::whatsapp::{HandshakeMessage, handshake_message};

use super::identity::Identity;

/// Why a handshake ended without a session. The text is for the debug log only.
#[derive(Debug, thiserror::Error)]
#[error("handshake: {0}")]
pub(crate) struct Refused(String);

impl Refused {
    fn because(cause: impl std::fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

/// What a finished handshake knows about the peer.
pub(crate) struct Peer {
    /// The client's Noise static key: its name in the sandbox.
    pub(crate) static_key: [u8; 32],
    /// The encoded `ClientPayload`.
    pub(crate) payload: Vec<u8>,
    /// Server to client.
    pub(crate) write: NoiseCipher,
    /// Client to server.
    pub(crate) read: NoiseCipher,
}

/// The answer to a client hello: bytes to send, and either a session or one more message to wait for.
pub(crate) enum Answer {
    /// IK: the session stands as soon as the hello is sent.
    Done { hello: Vec<u8>, peer: Box<Peer> },
    /// XX or XX-fallback: the client finish is missing.
    AwaitFinish { hello: Vec<u8>, pending: Box<Pending>, fallback: bool },
}

/// XX between server hello and client finish.
pub(crate) struct Pending {
    noise: NoiseHandshake,
    ephemeral: KeyPair,
}

struct ClientHello {
    ephemeral: [u8; 32],
    zero_rtt: Option<(Vec<u8>, Vec<u8>)>,
}

/// Reads a client hello and answers it.
pub(crate) fn answer(identity: &Identity, frame: &[u8]) -> Result<Answer, Refused> {
    let hello = read_hello(frame)?;
    match &hello.zero_rtt {
        None => await_finish(identity, &hello.ephemeral, NOISE_PATTERN_XX),
        Some((key, payload)) => match accept_ik(identity, &hello.ephemeral, key, payload) {
            Ok(done) => Ok(done),
            // Not sealed for our static key: offer ours. The client verifies the chain before it goes on.
            Err(_) => await_finish(identity, &hello.ephemeral, NOISE_PATTERN_XXFALLBACK),
        },
    }
}

fn read_hello(frame: &[u8]) -> Result<ClientHello, Refused> {
    let message = HandshakeMessage::decode_from_slice(frame).map_err(Refused::because)?;
    let hello = message.client_hello.into_option().ok_or_else(|| Refused::because("no client hello"))?;
    let ephemeral = key32(hello.ephemeral.as_deref())?;
    Ok(ClientHello { ephemeral, zero_rtt: hello.r#static.zip(hello.payload) })
}

fn accept_ik(identity: &Identity, e: &[u8; 32], sealed: &[u8], payload: &[u8]) -> Result<Answer, Refused> {
    let mut noise = NoiseHandshake::new(NOISE_PATTERN_IK, &WA_CONN_HEADER).map_err(Refused::because)?;
    noise.authenticate(identity.static_public());
    noise.authenticate(e);
    noise.mix_shared_secret(identity.static_private(), e).map_err(Refused::because)?;
    let peer_key = key32(Some(&noise.decrypt(sealed).map_err(Refused::because)?))?;
    noise.mix_shared_secret(identity.static_private(), &peer_key).map_err(Refused::because)?;
    let payload = noise.decrypt(payload).map_err(Refused::because)?;
    let ephemeral = KeyPair::generate(&mut rand::rng());
    let public = key32(Some(ephemeral.public_key.public_key_bytes()))?;
    noise.authenticate(&public);
    noise.mix_shared_secret(ephemeral.private_key.serialize(), e).map_err(Refused::because)?;
    noise.mix_shared_secret(ephemeral.private_key.serialize(), &peer_key).map_err(Refused::because)?;
    let chain = noise.encrypt(identity.chain()).map_err(Refused::because)?;
    let peer = session(noise, peer_key, payload)?;
    Ok(Answer::Done { hello: server_hello(&public, None, chain), peer: Box::new(peer) })
}

fn await_finish(identity: &Identity, e: &[u8; 32], pattern: &str) -> Result<Answer, Refused> {
    let mut noise = NoiseHandshake::new(pattern, &WA_CONN_HEADER).map_err(Refused::because)?;
    let ephemeral = KeyPair::generate(&mut rand::rng());
    let public = key32(Some(ephemeral.public_key.public_key_bytes()))?;
    noise.authenticate(e);
    noise.authenticate(&public);
    noise.mix_shared_secret(ephemeral.private_key.serialize(), e).map_err(Refused::because)?;
    let sealed = noise.encrypt(identity.static_public()).map_err(Refused::because)?;
    noise.mix_shared_secret(identity.static_private(), e).map_err(Refused::because)?;
    let chain = noise.encrypt(identity.chain()).map_err(Refused::because)?;
    let hello = server_hello(&public, Some(sealed), chain);
    let fallback = pattern == NOISE_PATTERN_XXFALLBACK;
    Ok(Answer::AwaitFinish { hello, pending: Box::new(Pending { noise, ephemeral }), fallback })
}

impl Pending {
    /// Reads the client finish.
    pub(crate) fn finish(mut self, frame: &[u8]) -> Result<Peer, Refused> {
        let message = HandshakeMessage::decode_from_slice(frame).map_err(Refused::because)?;
        let finish =
            message.client_finish.into_option().ok_or_else(|| Refused::because("no client finish"))?;
        let sealed = finish.r#static.ok_or_else(|| Refused::because("no static key"))?;
        let peer_key = key32(Some(&self.noise.decrypt(&sealed).map_err(Refused::because)?))?;
        let private = self.ephemeral.private_key.serialize();
        self.noise.mix_shared_secret(private, &peer_key).map_err(Refused::because)?;
        let sealed = finish.payload.ok_or_else(|| Refused::because("no payload"))?;
        let payload = self.noise.decrypt(&sealed).map_err(Refused::because)?;
        session(self.noise, peer_key, payload)
    }
}

fn session(noise: NoiseHandshake, static_key: [u8; 32], payload: Vec<u8>) -> Result<Peer, Refused> {
    // The pair is named from the initiator's side.
    let (read, write) = noise.finish().map_err(Refused::because)?;
    Ok(Peer { static_key, payload, write, read })
}

fn server_hello(ephemeral: &[u8; 32], sealed_static: Option<Vec<u8>>, chain: Vec<u8>) -> Vec<u8> {
    HandshakeMessage {
        server_hello: MessageField::some(handshake_message::ServerHello {
            ephemeral: Some(ephemeral.to_vec()),
            r#static: sealed_static,
            payload: Some(chain),
            ..Default::default()
        }),
        ..Default::default()
    }
    .encode_to_vec()
}

fn key32(bytes: Option<&[u8]>) -> Result<[u8; 32], Refused> {
    let bytes = bytes.ok_or_else(|| Refused::because("a key is missing"))?;
    <[u8; 32]>::try_from(bytes).map_err(|_| Refused::because("a key is not 32 bytes"))
}
