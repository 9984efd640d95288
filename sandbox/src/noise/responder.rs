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
    <[u8; 32]>::try_from(bytes).map_err(|_cause| Refused::because("a key is not 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use whatsapp_rust::wacore::libsignal::protocol::PublicKey;
    use whatsapp_rust::waproto::whatsapp::{CertChain, cert_chain::noise_certificate};

    /// The initiator's half, as the Noise specification has it; `chain` is what it got to see.
    struct Initiator {
        noise: NoiseHandshake,
        ephemeral: KeyPair,
        key: KeyPair,
    }

    fn public(pair: &KeyPair) -> [u8; 32] {
        key32(Some(pair.public_key.public_key_bytes())).unwrap()
    }

    fn hello(ephemeral: &KeyPair, zero_rtt: Option<(Vec<u8>, Vec<u8>)>) -> Vec<u8> {
        let (sealed, payload) = zero_rtt.unzip();
        HandshakeMessage {
            client_hello: MessageField::some(handshake_message::ClientHello {
                ephemeral: Some(public(ephemeral).to_vec()),
                r#static: sealed,
                payload,
                ..Default::default()
            }),
            ..Default::default()
        }
        .encode_to_vec()
    }

    impl Initiator {
        fn new(pattern: &str) -> Self {
            Self {
                noise: NoiseHandshake::new(pattern, &WA_CONN_HEADER).unwrap(),
                ephemeral: KeyPair::generate(&mut rand::rng()),
                key: KeyPair::generate(&mut rand::rng()),
            }
        }

        /// Reads an XX-shaped server hello; gives the finish and the chain.
        fn xx(&mut self, server_hello: &[u8], payload: &[u8]) -> (Vec<u8>, [u8; 32], Vec<u8>) {
            let hello = HandshakeMessage::decode_from_slice(server_hello).unwrap();
            let hello = hello.server_hello.into_option().unwrap();
            let theirs = key32(hello.ephemeral.as_deref()).unwrap();
            self.noise.authenticate(&public(&self.ephemeral));
            self.noise.authenticate(&theirs);
            self.noise.mix_shared_secret(self.ephemeral.private_key.serialize(), &theirs).unwrap();
            let server = key32(Some(&self.noise.decrypt(&hello.r#static.unwrap()).unwrap())).unwrap();
            self.noise.mix_shared_secret(self.ephemeral.private_key.serialize(), &server).unwrap();
            let chain = self.noise.decrypt(&hello.payload.unwrap()).unwrap();
            let sealed = self.noise.encrypt(&public(&self.key)).unwrap();
            self.noise.mix_shared_secret(self.key.private_key.serialize(), &theirs).unwrap();
            let finish = handshake_message::ClientFinish {
                r#static: Some(sealed),
                payload: Some(self.noise.encrypt(payload).unwrap()),
                ..Default::default()
            };
            let finish = HandshakeMessage { client_finish: MessageField::some(finish), ..Default::default() };
            (finish.encode_to_vec(), server, chain)
        }

        fn says(self, text: &[u8]) -> Vec<u8> {
            self.noise.finish().unwrap().0.encrypt_with_counter(0, text).unwrap()
        }
    }

    fn identity() -> Identity {
        Identity::load_or_create(None).unwrap()
    }

    /// What every verifying client checks.
    fn verify(chain: &[u8], root: &[u8; 32], server: &[u8; 32]) {
        let chain = CertChain::decode_from_slice(chain).unwrap();
        let (leaf, middle) = (chain.leaf.into_option().unwrap(), chain.intermediate.into_option().unwrap());
        let read = |bytes: &[u8]| noise_certificate::Details::decode_from_slice(bytes).unwrap();
        let (leaf_is, middle_is) =
            (read(leaf.details.as_ref().unwrap()), read(middle.details.as_ref().unwrap()));
        let signed = |key: &[u8], what: &NoiseCertificateParts<'_>| {
            let key = PublicKey::from_djb_public_key_bytes(key).unwrap();
            assert!(key.verify_signature(what.0, what.1));
        };
        type NoiseCertificateParts<'a> = (&'a [u8], &'a [u8]);
        signed(root, &(middle.details.as_ref().unwrap(), middle.signature.as_ref().unwrap()));
        let middle_key = middle_is.key.clone().unwrap();
        signed(&middle_key, &(leaf.details.as_ref().unwrap(), leaf.signature.as_ref().unwrap()));
        assert_eq!(middle_is.issuer_serial, Some(0));
        assert_eq!(leaf_is.issuer_serial, middle_is.serial);
        assert_eq!(leaf_is.key.as_deref(), Some(server.as_slice()));
        let now = crate::clock::now_secs();
        assert!(leaf_is.not_before.unwrap() < now && now < leaf_is.not_after.unwrap());
    }

    fn hears(peer: &Peer, mut sealed: Vec<u8>) -> Vec<u8> {
        peer.read.decrypt_in_place_with_counter(0, &mut sealed).unwrap();
        sealed
    }

    #[test]
    fn a_foreign_client_gets_in_by_xx_and_can_verify_the_chain() {
        let identity = identity();
        let mut client = Initiator::new(NOISE_PATTERN_XX);
        let first = hello(&client.ephemeral, None);
        let Answer::AwaitFinish { hello, pending, fallback: false } = answer(&identity, &first).unwrap()
        else {
            panic!("XX waits for the finish");
        };
        let (finish, server, chain) = client.xx(&hello, b"register");
        assert_eq!(&server, identity.static_public());
        verify(&chain, identity.root_public(), &server);
        let peer = pending.finish(&finish).unwrap();
        assert_eq!((peer.static_key, peer.payload.as_slice()), (public(&client.key), &b"register"[..]));
        assert_eq!(hears(&peer, client.says(b"hello")), b"hello");
    }

    #[test]
    fn a_hello_for_another_key_falls_back_and_still_gets_in() {
        let identity = identity();
        let mut client = Initiator::new(NOISE_PATTERN_XXFALLBACK);
        let first = hello(&client.ephemeral, Some((vec![1; 48], vec![2; 32])));
        let Answer::AwaitFinish { hello, pending, fallback: true } = answer(&identity, &first).unwrap()
        else {
            panic!("not sealed for us");
        };
        let (finish, server, chain) = client.xx(&hello, b"login");
        verify(&chain, identity.root_public(), &server);
        let peer = pending.finish(&finish).unwrap();
        assert_eq!(hears(&peer, client.says(b"hello")), b"hello");
    }

    #[test]
    fn a_broken_finish_and_a_broken_hello_get_nothing() {
        let identity = identity();
        let mut client = Initiator::new(NOISE_PATTERN_XX);
        let first = hello(&client.ephemeral, None);
        let Answer::AwaitFinish { hello, pending, .. } = answer(&identity, &first).unwrap() else {
            panic!("XX waits for the finish");
        };
        let (mut finish, ..) = client.xx(&hello, b"register");
        if let Some(last) = finish.last_mut() {
            *last ^= 1;
        }
        assert!(pending.finish(&finish).is_err());
        assert!(answer(&identity, b"").is_err());
        assert!(answer(&identity, &first[..first.len() - 1]).is_err());
    }
}
