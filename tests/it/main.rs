//! Through the public interfaces: the HTTP API of a running service, and the rules the sources keep.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers are no tests to the linter"
)]

mod arrows;
mod bad_input;
mod socket;
