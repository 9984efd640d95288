//! The metrics of supervision.

/// Restarts begun, by kind of child (counter).
pub const RESTARTS_TOTAL: &str = "supervisor_restarts_total";
/// Children whose failure budget is spent, by kind of child (gauge).
pub const PARKED: &str = "supervisor_parked";

pub(super) fn count_restart(kind: &'static str) {
    metrics::counter!(RESTARTS_TOTAL, "kind" => kind).increment(1);
}

/// Counts one parked child for as long as it lives.
#[derive(Debug)]
pub(super) struct Parked(&'static str);

impl Parked {
    pub(super) fn new(kind: &'static str) -> Self {
        metrics::gauge!(PARKED, "kind" => kind).increment(1.0);
        Self(kind)
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        metrics::gauge!(PARKED, "kind" => self.0).decrement(1.0);
    }
}
