//! The sandbox, seen by a real and unmodified client of WhatsApp.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::or_fun_call,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers are no tests to the linter"
)]

mod admin;
mod faults;
mod linking;
mod messages;
mod restart;
mod support;
mod tls;
mod trust;
