//! Logs and metrics. Every metric's name, unit and help stands in this file only.

use std::time::Duration;

/// Commits of the Ledger, with their size in writes and their length.
pub fn ledger_commit(writes: usize, took: Duration) {
    metrics::counter!("ledger_writes_total").increment(u64::try_from(writes).unwrap_or(u64::MAX));
    metrics::counter!("ledger_commits_total").increment(1);
    metrics::histogram!("ledger_commit_seconds").record(took.as_secs_f64());
}
