//! How far a reader of events is: one position per shard.
//!
//! On the wire the positions stand in order with dots between, as `12` on one shard and `12.0.7` on three. Clients give
//! back what they were given and need not look inside.

use std::fmt;

use serde::{Serialize, Serializer};

use super::error::Error;
use super::event::Event;
use super::ids::{Position, Shard};

/// A position per shard, in the order of shards.
#[derive(Clone, Debug, PartialEq, Eq, utoipa::ToSchema)]
#[schema(
    value_type = String,
    example = "12",
    pattern = r"^[0-9]{1,18}(?:\.[0-9]{1,18})*$",
    min_length = 1,
    max_length = 19_456
)]
pub struct Cursor(Vec<Position>);

impl Cursor {
    /// Before everything.
    #[must_use]
    pub fn start(shards: u16) -> Self {
        Self(vec![Position::default(); usize::from(shards.max(1))])
    }

    /// Reads what a client gave back; `0` is the start on any number of shards.
    ///
    /// # Errors
    /// `Invalid` for anything else than a position per shard.
    pub fn parse(text: &str, shards: u16) -> Result<Self, Error> {
        let start = Self::start(shards);
        if text == "0" {
            return Ok(start);
        }
        let bad =
            || Error::invalid("after", "invalid_position", "must be 0 or a position that was given out");
        let position = |text: &str| -> Result<Position, Error> {
            let digits = (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse().ok().filter(|_whole| digits);
            number.map(Position).ok_or_else(bad)
        };
        let given = text.split('.').take(start.0.len() + 1).map(position).collect::<Result<Vec<_>, _>>()?;
        if given.len() == start.0.len() { Ok(Self(given)) } else { Err(bad()) }
    }

    /// How far it is on one shard.
    #[must_use]
    pub fn of(&self, shard: Shard) -> Position {
        self.0.get(usize::from(shard.0)).copied().unwrap_or_default()
    }

    /// Notes how far it is on one shard.
    pub fn set(&mut self, shard: Shard, position: Position) {
        if let Some(slot) = self.0.get_mut(usize::from(shard.0)) {
            *slot = position;
        }
    }

    /// The shards, in order.
    pub fn shards(&self) -> impl Iterator<Item = Shard> + use<> {
        (0..u16::try_from(self.0.len()).unwrap_or(u16::MAX)).map(Shard)
    }

    /// Notes that an event was read.
    pub fn pass(&mut self, event: &Event) {
        let shards = u16::try_from(self.0.len()).unwrap_or(u16::MAX);
        self.set(Shard::of(event.subject(), shards), event.position);
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, position) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(".")?;
            }
            write!(f, "{position}")?;
        }
        Ok(())
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        let cursor = Cursor::parse("12.0.7", 3).unwrap();
        assert_eq!(cursor.to_string(), "12.0.7");
        assert_eq!(cursor.of(Shard(2)), Position(7));
        assert_eq!(Cursor::parse("0", 3).unwrap().to_string(), "0.0.0");
        assert_eq!(Cursor::parse("41", 1).unwrap().of(Shard(0)), Position(41));
    }

    #[test]
    fn what_was_never_given_out_is_refused() {
        for text in ["", "-1", "+1", "now", "1.2", "1.2.3.4", "1..3", "99999999999999999999", "1.2.3."] {
            assert_eq!(Cursor::parse(text, 3).unwrap_err().code, "invalid_position", "{text}");
        }
    }
}
