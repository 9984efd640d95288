//! Recado: WhatsApp messaging as an actor system.
//!
//! One binary hosts thousands of WhatsApp sessions as supervised actors behind REST and WebSocket, and loses
//! nothing: every command and event travels one durable log. The picture is in [`actors::tree`]; the way data flows
//! in `docs/architecture.md`. Modules, in reading order:

pub mod domain;
pub mod infra;
pub mod telemetry;

pub mod actors;

pub mod config;
pub mod http;

pub mod commands;
