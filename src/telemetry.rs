//! Logs and metrics. Every metric's name, unit and help stands in this file only.

use std::time::Duration;

use crate::domain::event::Log;
use crate::domain::ids::{Position, Shard};

/// Commits of the Ledger, with their size in writes and their length.
pub fn ledger_commit(writes: usize, took: Duration) {
    metrics::counter!("ledger_writes_total").increment(u64::try_from(writes).unwrap_or(u64::MAX));
    metrics::counter!("ledger_commits_total").increment(1);
    metrics::histogram!("ledger_commit_seconds").record(took.as_secs_f64());
}

/// Entries the relay appended to a log.
pub fn relay_published(log: Log, entries: usize) {
    metrics::counter!("relay_published_total", "log" => log.as_str()).increment(count(entries));
}

/// How far the stream is behind the table, in entries.
pub fn relay_lag(shard: Shard, log: Log, head: Position, tail: Position) {
    gauge("relay_lag", shard, log.as_str()).set(distance(tail, head));
}

/// 1 while a stream holds positions the table never gave: somebody must look.
pub fn relay_ahead(shard: Shard, log: Log, ahead: bool) {
    gauge("relay_stream_ahead", shard, log.as_str()).set(f64::from(u8::from(ahead)));
}

/// Entries that are neither in the stream nor in the table any more: somebody must look.
pub fn events_missed(log: Log, entries: usize) {
    metrics::counter!("events_missed_total", "log" => log.as_str()).increment(count(entries));
}

/// How far a consumer group is behind what it has seen, in entries.
pub fn consumer_lag(shard: Shard, group: &str, cursor: Position, seen: Position) {
    gauge("consumer_lag", shard, group).set(distance(cursor, seen));
}

/// Entries of a consumer group by outcome: `handled`, `failed`, `buried`, `redriven`.
pub fn deliveries(group: &str, outcome: &'static str, entries: usize) {
    metrics::counter!("deliveries_total", "group" => group.to_owned(), "outcome" => outcome)
        .increment(count(entries));
}

/// Entries a consumer group gave up on.
pub fn dead_letter(group: &str) {
    metrics::counter!("dead_letters_total", "group" => group.to_owned()).increment(1);
}

/// Clients connected to the hub, and how far it is behind, in entries.
pub fn hub(shard: Shard, clients: usize, position: Position, tail: Position) {
    gauge("hub_clients", shard, "hub").set(f64::from(u32::try_from(clients).unwrap_or(u32::MAX)));
    gauge("hub_lag", shard, "hub").set(distance(position, tail));
}

/// A client was closed because it read too slowly.
pub fn hub_slow_client() {
    metrics::counter!("hub_slow_clients_total").increment(1);
}

fn gauge(name: &'static str, shard: Shard, part: &str) -> metrics::Gauge {
    metrics::gauge!(name, "shard" => shard.0.to_string(), "part" => part.to_owned())
}

fn count(entries: usize) -> u64 {
    u64::try_from(entries).unwrap_or(u64::MAX)
}

fn distance(from: Position, to: Position) -> f64 {
    f64::from(u32::try_from(to.0.saturating_sub(from.0).max(0)).unwrap_or(u32::MAX))
}
