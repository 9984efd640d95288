//! When keys were last used, gathered: one write for many keys, and for each key at most one a minute.

use std::collections::HashMap;
use std::time::Duration;

use crate::actors::ledger::Ledgers;
use crate::domain::error::Result;
use crate::domain::ids::KeyId;
use crate::domain::time::Timestamp;
use crate::domain::write::{PeopleWrite, Write};

/// How long uses are gathered before they are written.
pub(super) const GATHER: Duration = Duration::from_secs(5);

/// How long a key's last use is good enough.
const MINUTE: Duration = Duration::from_secs(60);

/// The most keys remembered; the rest is noted another time.
const MOST: usize = 4096;

/// Uses to write, and when each key's was written.
#[derive(Default)]
pub(super) struct Touches {
    waiting: HashMap<KeyId, Timestamp>,
    written: HashMap<KeyId, Timestamp>,
}

impl Touches {
    /// A key was used.
    pub(super) fn note(&mut self, key: KeyId, at: Timestamp) {
        let fresh = self.written.get(&key).is_some_and(|written| at < written.after(MINUTE));
        if !fresh && self.waiting.len() < MOST {
            self.waiting.insert(key, at);
        }
    }

    /// What is to be written; they count as written.
    pub(super) fn take(&mut self) -> Vec<(KeyId, Timestamp)> {
        let used: Vec<_> = self.waiting.drain().collect();
        if self.written.len() + used.len() > MOST {
            self.written.clear();
        }
        self.written.extend(used.iter().copied());
        used
    }
}

/// Writes them down.
pub(super) async fn write(ledgers: &Ledgers, used: Vec<(KeyId, Timestamp)>) -> Result<()> {
    if used.is_empty() {
        return Ok(());
    }
    ledgers.write_patiently(Write::People(Box::new(PeopleWrite::TouchKeys(used)))).await.map(|_done| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_down_once_a_minute_at_most() {
        let (mut touches, key) = (Touches::default(), KeyId::new());
        let at = |seconds: i64| Timestamp(seconds * 1000);
        touches.note(key, at(0));
        touches.note(key, at(3));
        assert_eq!(touches.take(), [(key, at(3))]);
        touches.note(key, at(62));
        assert!(touches.take().is_empty(), "it was written 59 seconds ago");
        touches.note(key, at(63));
        assert_eq!(touches.take(), [(key, at(63))]);
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut touches = Touches::default();
        for _ in 0..2 * MOST {
            touches.note(KeyId::new(), Timestamp(0));
        }
        assert_eq!(touches.take().len(), MOST);
        touches.note(KeyId::new(), Timestamp(0));
        assert_eq!(touches.take().len(), 1);
        assert!(touches.written.len() <= MOST);
    }
}
