//! What touches the outside: tables, streams, WhatsApp. Knows `domain`, never actors or HTTP.

pub mod gateway;
pub mod limits;
pub mod mail;
pub mod one_time;
pub mod passwords;
pub mod peers;
pub mod private_file;
pub mod store;
pub mod stream;
pub mod tokens;
pub mod vault;
