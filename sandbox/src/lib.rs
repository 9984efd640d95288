//! A WhatsApp that runs on your laptop: the real wire protocol, virtual phones.
//!
//! Any client that speaks to WhatsApp's servers can speak to a [`Sandbox`], once it trusts its keys: link by QR or by
//! pairing code, send, receive, be interrupted. For every account there is a virtual phone, a real primary device with
//! keys of its own. Nothing leaves the machine.
//!
//! ```text
//!  client ──ws──▶ net ─▶ frame ─▶ noise ─▶ link ─▶ stanza ─▶ route ──▶ account/mailbox ─▶ link ──ws──▶ client
//!                                            │               │    └──▶ handset ─▶ phone (device 0)
//!                                            └─ linking      └─ iq
//!  HTTP ────────▶ admin ─▶ ops
//! ```
//!
//! Read [`SandboxConfig`] for its limits, [`Sandbox`] for what can be done with it, `save` for what survives a restart.

mod account;
mod admin;
mod args;
mod clock;
mod config;
mod directory;
mod error;
mod faults;
pub mod frame;
mod handset;
mod iq;
mod link;
mod linking;
mod net;
mod noise;
mod ops;
pub mod phone;
mod route;
mod sandbox;
mod save;
pub mod stanza;
mod stats;
mod store;
mod task;
mod typing;
mod world;

pub use account::inbox::{InboxMessage, InboxPage};
pub use args::{SandboxArgs, run};
pub use config::{Limits, SandboxConfig, TlsFiles};
pub use error::{Code, Result, SandboxError};
pub use faults::{FaultKind, FaultSpec, FaultView};
pub use linking::{Linked, ScanQr};
pub use ops::talk::{Reply, SendText, Sent, Typing};
pub use ops::views::{AccountView, DeviceView, ReceiptedPage};
pub use sandbox::{Sandbox, SandboxState};
pub use stats::Stats;
