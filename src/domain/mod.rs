//! What Recado is about: pure types and state machines, no input or output.
//!
//! Imports no runtime, store, network or web crate; `tests/it/arrows.rs` reads the sources to keep it so.

pub mod address;
pub mod cluster;
pub mod command;
pub mod content;
pub mod cron;
pub mod cursor;
pub mod data;
pub mod error;
pub mod event;
pub mod identity;
pub mod ids;
pub mod label;
pub mod limit;
pub mod message;
pub mod pacing;
pub mod password;
pub mod retry;
pub mod session;
pub mod time;
pub mod view;
pub mod write;

pub use address::Address;
pub use error::{Error, Kind, Result};
pub use time::{Timestamp, now};
