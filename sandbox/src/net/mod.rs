//! Sockets: the listener and the streams it hands out.

pub(crate) mod listener;
