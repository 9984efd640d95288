//! How the store uses its server.

use std::time::Duration;

/// How the store uses its server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most connections of this node: half of them commit, half of them query.
    pub max_connections: usize,
    /// After this long the server gives a statement up.
    pub statement_timeout: Duration,
    /// After this long the server ends a transaction in which nothing happens.
    pub idle_in_transaction_session_timeout: Duration,
    /// The span of a partition of `events` and of `session_messages`. Every commit of an open shard passes by the
    /// partitions there are, so not too many.
    pub partition: Duration,
    /// Events older than this go, a partition at a time; `None` keeps them.
    pub keep_events: Option<Duration>,
    /// Messages older than this go, a partition at a time; `None` keeps them. Less than the 30 days for which WhatsApp
    /// may bring a message again would let it in twice.
    pub keep_messages: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: 16,
            statement_timeout: Duration::from_secs(5),
            idle_in_transaction_session_timeout: Duration::from_secs(10),
            partition: Duration::from_secs(30 * 24 * 60 * 60),
            keep_events: None,
            keep_messages: None,
        }
    }
}
