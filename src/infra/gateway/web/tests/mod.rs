//! The gateway against the sandbox and the tables, as a session would use it.

mod backend;
mod rig;
