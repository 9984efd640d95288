//! Relay, consumer, intake and hints on real servers that are killed, emptied, cut and stopped: what is lost, repeated
//! or out of order is counted, and each count must be 0.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::or_fun_call,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    clippy::cognitive_complexity,
    clippy::print_stdout,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers are no tests to the linter"
)]

#[path = "redis_faults/hints.rs"]
mod hints;
#[path = "redis_faults/intake.rs"]
mod intake;
#[path = "redis_faults/letters.rs"]
mod letters;
#[path = "redis_faults/losses.rs"]
mod losses;
#[path = "redis_faults/rig.rs"]
mod rig;
mod servers;
