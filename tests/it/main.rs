//! Through the public interfaces: the HTTP API of a running service, and the rules the sources keep.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers are no tests to the linter"
)]

mod app;
mod arrows;
mod backup;
mod bad_input;
mod contract;
mod deployment;
mod first_key;
mod flow_events;
mod flow_messages;
mod flow_sessions;
mod identity;
#[path = "../suite/invariants.rs"]
mod invariants;
mod limits;
mod mail;
mod pacing;
mod socket;
