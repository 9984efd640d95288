//! Recado: WhatsApp messaging as an actor system, thousands of sessions behind one API, and nothing lost.

pub mod actors;
pub mod domain;
