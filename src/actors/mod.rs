//! The actors, and what every actor stands on: supervision, bounded mailboxes, tasks that belong to an actor.

pub mod mailbox;
pub mod supervisor;
pub mod task;
