//! The scenarios of the study's table B5, by what they break. Each prints one line of figures.

pub(crate) mod consumers;
pub(crate) mod cuts;
pub(crate) mod disk;
pub(crate) mod failover;
pub(crate) mod nodes;
pub(crate) mod postgres;
pub(crate) mod redis;
pub(crate) mod stops;
pub(crate) mod versions;
