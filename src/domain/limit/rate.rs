//! A limit as it is written: `600/min`, `10/s`, `5/10s`, `1000/h`, `20000/day`.
//!
//! Promises: a limit admits at least one request, and its window is 1 second to 1 day.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::domain::error::{Error, Result};

/// The most that a limit may admit in a window.
const MOST: u32 = 1_000_000_000;

/// The longest window: what is counted is kept for so long.
const LONGEST: u64 = 24 * 60 * 60;

/// Units by name, in seconds. The first name of a length is the one that is shown.
const UNITS: [(&str, u64); 8] = [
    ("day", LONGEST),
    ("d", LONGEST),
    ("h", 3600),
    ("hour", 3600),
    ("min", 60),
    ("m", 60),
    ("s", 1),
    ("sec", 1),
];

/// So many within so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    seconds: u64,
}

impl Rate {
    /// How many.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Within how long.
    #[must_use]
    pub const fn window(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

impl FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = || {
            Error::invalid(
                "rate",
                "invalid_rate",
                "must be a count and a time up to a day, as 600/min, 10/s or 5/10s",
            )
        };
        let (count, time) = text.split_once('/').ok_or_else(refuse)?;
        let count: u32 = digits(count.trim()).and_then(|count| count.parse().ok()).ok_or_else(refuse)?;
        let time = time.trim();
        let end = time.find(|c: char| !c.is_ascii_digit()).unwrap_or(time.len());
        let (times, unit) = time.split_at(end);
        let times: u64 = if times.is_empty() { 1 } else { times.parse().map_err(|_large| refuse())? };
        let unit = UNITS.iter().find(|(name, _)| *name == unit.trim_start()).ok_or_else(refuse)?.1;
        let seconds = times.checked_mul(unit).filter(|seconds| (1..=LONGEST).contains(seconds));
        if !(1..=MOST).contains(&count) {
            return Err(refuse());
        }
        Ok(Self { count, seconds: seconds.ok_or_else(refuse)? })
    }
}

/// Only digits: a sign would parse as well.
fn digits(text: &str) -> Option<&str> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text)
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, seconds } = self;
        let whole = UNITS.iter().find(|(_, unit)| seconds.is_multiple_of(*unit));
        match whole.map_or(("s", *seconds), |(name, unit)| (name, seconds / unit)) {
            (name, 1) => write!(f, "{count}/{name}"),
            (name, times) => write!(f, "{count}/{times}{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_reads_as_it_is_written() {
        for (text, count, seconds, shown) in [
            ("600/min", 600, 60, "600/min"),
            ("10/s", 10, 1, "10/s"),
            ("5/10s", 5, 10, "5/10s"),
            ("5 / 90 s", 5, 90, "5/90s"),
            ("1000/h", 1000, 3600, "1000/h"),
            ("7/120min", 7, 7200, "7/2h"),
            ("1000000000/day", 1_000_000_000, 86_400, "1000000000/day"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.count(), rate.window()), (count, Duration::from_secs(seconds)), "{text}");
            assert_eq!(rate.to_string(), shown);
            assert_eq!(shown.parse::<Rate>().unwrap(), rate);
        }
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for text in [
            "",
            "10",
            "/s",
            "0/s",
            "10/",
            "10/0s",
            "-1/s",
            "+1/s",
            "1e3/s",
            "10/fortnight",
            "10/s/s",
            "1000000001/s",
            "1/2day",
            "1/99999999999999999999s",
            "1/18446744073709551615h",
            "ten/min",
            "1/-1s",
        ] {
            assert_eq!(text.parse::<Rate>().unwrap_err().code, "invalid_rate", "{text}");
        }
    }
}
