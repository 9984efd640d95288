//! What the binary can do: one file per command. The only place where the layers are put together.

pub mod backup;
pub mod demo;
pub mod doctor;
mod engines;
mod first_key;
pub mod health;
pub mod migrate;
pub mod openapi;
pub mod restore;
pub mod serve;
pub mod service;
