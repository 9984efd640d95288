//! The server's half of the Noise handshake: who the sandbox is ([`identity`]) and how it answers ([`responder`]).

pub(crate) mod identity;
pub(crate) mod responder;
