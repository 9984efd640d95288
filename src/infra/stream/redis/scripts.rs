//! The scripts: each is one step that nobody can come between, on the keys of one stream.

use redis::Script;

macro_rules! with_tail {
    ($name:literal) => {
        Script::new(concat!(include_str!("lua/tail.lua"), include_str!(concat!("lua/", $name, ".lua"))))
    };
}

macro_rules! alone {
    ($name:literal) => {
        Script::new(include_str!(concat!("lua/", $name, ".lua")))
    };
}

pub(super) struct Scripts {
    pub(super) lead: Script,
    pub(super) begin: Script,
    pub(super) append: Script,
    pub(super) read: Script,
    pub(super) trim: Script,
    pub(super) claim: Script,
    pub(super) forget: Script,
    pub(super) done: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            lead: with_tail!("lead"),
            begin: with_tail!("begin"),
            append: with_tail!("append"),
            read: with_tail!("read"),
            trim: with_tail!("trim"),
            claim: alone!("claim"),
            forget: alone!("forget"),
            done: alone!("done"),
        }
    }
}
