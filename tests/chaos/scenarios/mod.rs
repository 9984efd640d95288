//! The scenarios of the study's table B5, by what they break. Each prints one line of figures.

pub(crate) mod cuts;
pub(crate) mod nodes;
pub(crate) mod postgres;
pub(crate) mod redis;
pub(crate) mod stops;
