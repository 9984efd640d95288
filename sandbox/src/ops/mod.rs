//! What can be asked of a sandbox from outside: the same for the library and for the admin surface.

pub(crate) mod faults;
pub(crate) mod talk;
pub(crate) mod views;
