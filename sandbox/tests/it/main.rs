//! The sandbox, seen by a real and unmodified client of WhatsApp.
#![allow(missing_docs, reason = "tests")]

mod admin;
mod faults;
mod linking;
mod messages;
mod restart;
mod support;
mod trust;
