//! The gateway against the sandbox and the tables, as a session would use it.

mod backend;
mod cost;
mod counted;
mod life;
mod messages;
mod rig;
mod trust;
