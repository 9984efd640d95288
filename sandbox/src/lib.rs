//! A WhatsApp that runs on your laptop: the real wire protocol, virtual phones.

pub mod phone;
