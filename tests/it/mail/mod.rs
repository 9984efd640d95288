//! Mail: the ways out, and the consumer that sends it.

mod adapters;
mod flow;
mod server;
