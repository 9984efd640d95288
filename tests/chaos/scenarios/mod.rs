//! The scenarios of the study's table B5, by what they break. Each prints one line of figures.

pub(crate) mod nodes;
pub(crate) mod redis;
