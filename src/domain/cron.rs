//! Times of the day, as `cron` writes them, in UTC.
//!
//! Promises: a pattern that never comes is refused when it is read, not when it is waited for.

use std::str::FromStr;

use chrono::{DateTime, Utc};

use super::error::{Error, Result};
use super::time::Timestamp;

/// When something is due, again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron(croner::Cron);

impl Cron {
    /// The first moment after `at`; `None` when there is none.
    #[must_use]
    pub fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let at = DateTime::<Utc>::from_timestamp_millis(at.0)?;
        self.0.find_next_occurrence(&at, false).ok().map(|next| Timestamp(next.timestamp_millis()))
    }
}

impl FromStr for Cron {
    type Err = Error;

    /// Five fields (minute, hour, day, month, weekday), or six with seconds first.
    fn from_str(text: &str) -> Result<Self> {
        let refuse = || Error::invalid("cron", "invalid_cron", "must be a cron pattern, as 0 3 * * *");
        let cron = croner::Cron::from_str(text).map(Self).map_err(|_why| refuse())?;
        cron.after(super::time::now()).ok_or_else(refuse)?;
        Ok(cron)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(pattern: &str, at: &str) -> String {
        let at = Timestamp(DateTime::parse_from_rfc3339(at).unwrap().timestamp_millis());
        pattern.parse::<Cron>().unwrap().after(at).unwrap().to_string()
    }

    #[test]
    fn a_pattern_is_met_in_utc_and_strictly_later() {
        assert_eq!(next("0 3 * * *", "2026-11-22T02:59:59Z"), "2026-11-22T03:00:00.000Z");
        assert_eq!(next("0 3 * * *", "2026-11-22T03:00:00Z"), "2026-11-23T03:00:00.000Z");
        assert_eq!(next("30 4 * * 1", "2026-11-22T03:00:00Z"), "2026-11-23T04:30:00.000Z");
        assert_eq!(next("*/10 * * * * *", "2026-11-22T03:00:01Z"), "2026-11-22T03:00:10.000Z");
    }

    #[test]
    fn what_is_no_pattern_or_never_comes_is_refused() {
        for wrong in ["", "daily", "0 3 * *", "61 3 * * *", "0 3 30 2 *", "* * * * * * * *"] {
            assert!(wrong.parse::<Cron>().is_err(), "{wrong}");
        }
    }
}
