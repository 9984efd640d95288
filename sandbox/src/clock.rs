//! The wall clock, read in one place.

use std::time::{Duration, UNIX_EPOCH};

fn since_epoch() -> Duration {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    let now = std::time::SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds since 1970, as stanzas carry them.
pub(crate) fn now_secs() -> u64 {
    since_epoch().as_secs()
}

/// Milliseconds since 1970, for the admin surface.
pub(crate) fn now_millis() -> u64 {
    u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX)
}
