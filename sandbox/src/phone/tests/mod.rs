//! Phones and companions in a world without a network, against the engine's own companion code.

mod app_state;
mod companion;
mod groups;
mod history;
mod linking;
mod messages;
mod pair_code;
mod retry;
mod world;
