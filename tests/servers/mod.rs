//! Throw-away servers for tests and benches: a Postgres and a Redis of their own, on free ports of loopback, in a folder
//! that goes with them. They end with the process that started them, however that ends.

#![allow(dead_code, reason = "each test target uses a part of it")]

pub mod keeper;
pub mod postgres;
pub mod redis;
