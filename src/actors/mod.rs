//! The actors. Five rules:
//!
//! 1. A behaviour struct is empty; its arguments carry everything; its state is private; its message type is its
//!    whole interface.
//! 2. A message is a hint or a question, never the only copy of work. Losing it costs latency, not data.
//! 3. `handle` does at most one store transaction and no network wait over 100 ms; longer work is a child task whose
//!    result comes back as a message.
//! 4. `pre_start` does nothing that can fail for outside reasons; connecting is the first message.
//! 5. `Err` is returned only to be restarted. Every other failure is a state, with a metric.

pub mod tree;

pub mod archive;
pub mod backup;
pub mod consumer;
pub mod directory;
pub mod following;
pub mod handler;
pub mod health;
pub mod hints;
pub mod hub;
pub mod hubs;
pub mod identity;
pub mod intake;
pub mod leases;
pub mod ledger;
mod ledgers;
pub mod limiter;
pub mod mailbox;
pub mod neighbours;
mod people;
pub mod pulse;
pub mod queries;
pub mod relay;
pub mod roster;
pub mod scheduler;
pub mod send_mails;
pub mod session;
pub mod standing;
pub mod subscription;
pub mod supervisor;
pub mod task;
#[cfg(test)]
mod testing;
pub mod wake_sessions;
