//! Pure types and state machines: no clock, no socket, no table.

pub mod retry;
